// What the page is made of: elements, canvases, sliders, bars.
import { SIDE } from "./digit.js";
import { short } from "./explain.js";

export const BOX_COLOUR = "#D55E00";
const ZOOM = 12; // of the canvas that shows a digit

/** An element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") node.style.cssText = value; // as an attribute, a page's policy may forbid it
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Ink on paper: grey levels 0..255, as an image. */
export function inkImage(greys) {
  const pixels = new Uint8ClampedArray(greys.length * 4);
  greys.forEach((grey, i) => pixels.set([255 - grey, 255 - grey, 255 - grey, 255], 4 * i));
  return new ImageData(pixels, SIDE, SIDE);
}

/** The colour [red, green, blue] of a number from -limit to limit: blue below zero, white at zero, red above. */
export function colourOf(number, limit, palette) {
  const position = ((Math.min(Math.max(number / limit, -1), 1) + 1) / 2) * (palette.length - 1);
  const before = Math.min(Math.floor(position), palette.length - 2);
  return palette[before].map((part, i) => Math.round(part + (position - before) * (palette[before + 1][i] - part)));
}

/** A map's numbers on one scale, as an image. */
export function mapImage(numbers, width, height, limit, palette) {
  const pixels = new Uint8ClampedArray(width * height * 4);
  numbers.forEach((number, i) => pixels.set([...colourOf(number, limit, palette), 255], 4 * i));
  return new ImageData(pixels, width, height);
}

/** The largest number of all, by amount; a little more than nothing where all are zero. */
export function limitOf(numbers) {
  return numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 1e-9);
}

/** Fills a canvas with an image, every pixel a square. */
export function paint(canvas, image) {
  const small = make("canvas", { width: image.width, height: image.height });
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** A frame of `width` x `height` pixels around the pixels from (left, top) on; white beside it, to show on any ink. */
export function frame(canvas, left, top, width, height, zoom, colour) {
  const context = canvas.getContext("2d");
  for (const [style, line] of [["#ffffff", 7], [colour, 4]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    const inset = 3.5;
    const [x, y] = [left * zoom + inset, top * zoom + inset];
    context.strokeRect(x, y, Math.max(1, width * zoom - 2 * inset), Math.max(1, height * zoom - 2 * inset));
  }
}

/** The box of what a unit sees: rows and columns are [first, last, number]. */
export function box(canvas, rows, columns) {
  if (rows[2] && columns[2]) frame(canvas, columns[0], rows[0], columns[2], rows[2], ZOOM, BOX_COLOUR);
}

/** A small table of numbers in colours. marked: which of them has a frame. null stands for what lies in the padding. */
export function cells(numbers, width, height, limit, palette, marked = null) {
  const zoom = Math.max(4, Math.min(48, Math.floor(192 / Math.max(width, height))));
  const canvas = make("canvas", { width: width * zoom, height: height * zoom });
  const context = canvas.getContext("2d");
  context.font = `${Math.round(zoom * 0.3)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  numbers.forEach((number, i) => {
    const [x, y] = [(i % width) * zoom, Math.floor(i / width) * zoom];
    context.fillStyle = number === null ? "#e4e4e4" : `rgb(${colourOf(number, limit, palette).join()})`;
    context.fillRect(x, y, zoom, zoom);
    if (zoom < 36 || number === null) return;
    context.fillStyle = Math.abs(number) > 0.6 * limit ? "#ffffff" : "#000000";
    context.fillText(short(number), x + zoom / 2, y + zoom / 2);
  });
  if (marked !== null) frame(canvas, marked % width, Math.floor(marked / width), 1, 1, zoom, "#000000");
  return canvas;
}

/** A slider with a button on each side. last(): the largest value. choose(value): called with what a person chose. */
export function stepper(label, last, choose) {
  const slider = make("input", { type: "range", min: 0, max: last(), step: 1, "aria-label": label });
  const go = (value) => choose(Math.min(Math.max(value, 0), last()));
  const button = (text, step) => {
    const node = make("button", { type: "button", "aria-label": `${step < 0 ? "previous" : "next"} ${label}` }, text);
    node.addEventListener("click", () => go(Number(slider.value) + step));
    return node;
  };
  slider.addEventListener("input", () => go(Number(slider.value)));
  const show = (value, text) => {
    slider.max = last();
    slider.value = value;
    slider.setAttribute("aria-valuetext", text);
  };
  const node = make("div", { class: "lab-stepper", role: "group", "aria-label": label });
  node.append(make("span", {}, label), button("‹", -1), slider, button("›", 1));
  return { node, show };
}

/** One bar a layer, as high as what it sees; pointing at it chooses the layer. The slider does the same by keyboard. */
export function strip(layers, choose) {
  const bars = layers.map((layer, i) => {
    const bar = make("div", { title: layer.title }, make("div", { style: `height: ${100 * layer.share}%` }));
    bar.addEventListener("pointerenter", () => choose(i));
    bar.addEventListener("pointerdown", () => choose(i));
    return bar;
  });
  const node = make("div", { class: "lab-strip", "aria-hidden": "true" }, ...bars);
  const show = (chosen) => bars.forEach((bar, i) => bar.classList.toggle("lab-chosen", i === chosen));
  return { node, show };
}

/** Where a pointer is on a canvas, 0..1 across and down. */
export function pointed(canvas, event) {
  const area = canvas.getBoundingClientRect();
  return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
}

/** The arrow key's step as [down, right]; undefined for any other key. */
export function arrow(event) {
  return { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
}

/** A number brought into 0 .. n - 1. */
export function within(number, n) {
  return Math.min(Math.max(number, 0), n - 1);
}

/** A part of the page. Plain keys are its own, keys with a modifier JupyterLab's, which would take all of them. */
export function container(name) {
  const node = make("div", { class: `lab-widget ${name}` });
  const share = (event) => {
    const isPlain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
    if (node.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", isPlain);
  };
  window.addEventListener("keydown", share, true); // at the window: JupyterLab listens at the document
  return node;
}

/** A canvas with a caption below it. */
export function figure(attributes, caption) {
  const canvas = make("canvas", { width: SIDE * ZOOM, height: SIDE * ZOOM, ...attributes });
  return { canvas, node: make("figure", {}, canvas, make("figcaption", {}, caption)) };
}

/** Calls `act` once for all calls until the next picture is drawn. */
export function oncePerFrame(act) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      act();
    });
  };
}
