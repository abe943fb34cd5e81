// What both widgets draw with. Everything that is shown was worked out in the kernel.

const SIDE = 28; // pixels of a digit
const ZOOM = 12; // of the canvas that shows it

/** An element with attributes and children. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Shows the widget once a kernel has answered; until then, and without one, its still picture stays. */
function whenAlive(model, el, root) {
  const answered = (content) => {
    if (content !== "here") return;
    el.classList.add(model.get("live"));
    root.hidden = false;
  };
  root.hidden = true;
  el.append(root);
  model.on("msg:custom", answered);
  model.send("there?");
  return () => model.off("msg:custom", answered);
}

/** The bytes that the kernel sent, as an image. */
function imageOf(bytes, width, height, offset = 0) {
  const size = width * height * 4;
  const pixels = new Uint8ClampedArray(bytes.buffer, bytes.byteOffset + offset, size);
  return new ImageData(new Uint8ClampedArray(pixels), width, height);
}

/** Fills a canvas with an image, every pixel a square. */
function paint(canvas, image) {
  const small = make("canvas", { width: image.width, height: image.height });
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

/** A frame of `width` x `height` pixels around the pixels from (left, top) on; white beside it, to show on any ink. */
function frame(canvas, left, top, width, height, zoom, colour) {
  const context = canvas.getContext("2d");
  for (const [style, line] of [["#ffffff", 7], [colour, 4]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    const inset = 3.5;
    const [x, y] = [left * zoom + inset, top * zoom + inset];
    context.strokeRect(x, y, Math.max(1, width * zoom - 2 * inset), Math.max(1, height * zoom - 2 * inset));
  }
}

/** The box of what a unit sees: rows and columns are [first, last, number] as the kernel sent them. */
function box(canvas, rows, columns) {
  if (rows && columns && rows[2] && columns[2]) {
    frame(canvas, columns[0], rows[0], columns[2], rows[2], ZOOM, "#D55E00");
  }
}

/** A slider with a button on each side, bound to a number of the model. */
function stepper(model, name, label, last) {
  const slider = make("input", { type: "range", min: 0, max: last(), step: 1, "aria-label": label });
  const go = (value) => choose(model, { [name]: Math.min(Math.max(value, 0), last()) });
  const button = (text, step) => {
    const node = make("button", { type: "button", "aria-label": `${step < 0 ? "previous" : "next"} ${label}` }, text);
    node.addEventListener("click", () => go(model.get(name) + step));
    return node;
  };
  slider.addEventListener("input", () => go(Number(slider.value)));
  const show = (text) => {
    slider.max = last();
    slider.value = model.get(name);
    slider.setAttribute("aria-valuetext", text);
  };
  const node = make("div", { class: "lab-stepper", role: "group", "aria-label": label });
  node.append(make("span", {}, label), button("‹", -1), slider, button("›", 1));
  return { node, show };
}

/** One bar a layer, as high as what it sees; pointing at it chooses the layer. The slider does the same by keyboard. */
function strip(model) {
  const bars = model.get("layers").map((layer, i) => {
    const bar = make("div", { title: layer.name });
    bar.append(make("div", { style: `height: ${100 * layer.share}%` }));
    const pick = () => choose(model, { layer: i });
    bar.addEventListener("pointerenter", pick);
    bar.addEventListener("pointerdown", pick);
    return bar;
  });
  const node = make("div", { class: "lab-strip", "aria-hidden": "true" }, ...bars);
  const show = () => bars.forEach((bar, i) => bar.classList.toggle("lab-chosen", i === model.get("layer")));
  return { node, show };
}

/** Tells the kernel what a person chose. */
function choose(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

/** Where a pointer is on a canvas, 0..1 across and down. */
function place(canvas, event) {
  const area = canvas.getBoundingClientRect();
  return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
}

/** The arrow key's step as [down, right]; undefined for any other key. */
function arrow(event) {
  return { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
}

/** The widget's root. Plain keys are the widget's, keys with a modifier JupyterLab's, which would take all of them. */
function container(name) {
  const node = make("div", { class: `lab-widget ${name}` });
  const share = (event) => {
    const isPlain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
    if (node.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", isPlain);
  };
  window.addEventListener("keydown", share, true); // at the window: JupyterLab listens at the document
  return { node, release: () => window.removeEventListener("keydown", share, true) };
}

/** A canvas with a caption below it. */
function figure(attributes, caption) {
  const canvas = make("canvas", { width: SIDE * ZOOM, height: SIDE * ZOOM, ...attributes });
  return { canvas, node: make("figure", {}, canvas, make("figcaption", {}, caption)) };
}
