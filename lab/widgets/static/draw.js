// A canvas to draw on, what the network sees of it, and what it answers.
import { SIDE, toInput, toMnist } from "./digit.js";
import { arrow, box, container, figure, inkImage, make, oncePerFrame, paint, pointed, stepper, strip } from "./elements.js";

/** The probabilities (0..1) of scores. */
function softmax(scores) {
  const most = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** data: what lab/widgets/packing.py makes. answered(image): called for every drawing, once the network has answered. */
export function sketchpad(network, data, answered = () => {}) {
  const root = container("lab-draw");
  const sheet = figure(
    { tabindex: 0, role: "img", class: "lab-sheet", "aria-label": "draw a digit here; arrow keys move, space draws" },
    "draw here: mouse, finger or pen",
  );
  const view = figure({ role: "img", class: "lab-view", "aria-label": "the drawing as the network sees it" }, "what the network sees, 28x28");
  const clear = make("button", { type: "button" }, "clear");
  const readout = make("p", { class: "lab-readout", role: "status", "aria-live": "polite" });
  const bars = make("div", { class: "lab-bars", role: "list", "aria-label": "probabilities" });
  root.append(
    make("div", { class: "lab-pair" }, sheet.node, view.node),
    make("div", { class: "lab-controls" }, clear),
    readout,
    bars,
  );

  let strokes = [];
  let cursor = null; // where the keyboard's pen is, once it has moved
  let picture = toMnist(strokes, data.pen);

  function showSheet() {
    const { width, height } = sheet.canvas;
    const context = sheet.canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = "#000000";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = data.pen * width;
    for (const stroke of strokes) {
      context.beginPath();
      stroke.forEach(([x, y]) => context.lineTo(x * width, y * height));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * width, stroke[0][1] * height);
      context.stroke();
    }
    if (!cursor) return;
    context.strokeStyle = "#0072B2";
    context.lineWidth = 3;
    context.beginPath();
    context.arc(cursor[0] * width, cursor[1] * height, 10, 0, 7);
    context.stroke();
  }

  function showAnswer() {
    picture = toMnist(strokes, data.pen);
    const shares = softmax(network.output(network.run(toInput(picture, data.normalisation))));
    const best = shares.indexOf(Math.max(...shares));
    const isEmpty = !strokes.length;
    readout.textContent = isEmpty
      ? "The canvas is empty: draw a digit."
      : `The network's answer: ${best}, ${Math.round(100 * shares[best])}% sure.`;
    bars.replaceChildren(
      ...shares.map((share, k) => {
        const length = isEmpty ? 0 : 100 * share;
        return make(
          "div",
          { role: "listitem", ...(k === best && !isEmpty ? { class: "lab-best" } : {}) },
          make("span", {}, `${k}`),
          make("div", {}, make("div", { style: `width: ${length}%` })),
          make("span", {}, `${length.toFixed(1)}%`),
        );
      }),
    );
    paint(view.canvas, inkImage(picture));
    answered(isEmpty ? null : picture);
  }

  const answer = oncePerFrame(showAnswer);
  function append(point, isNew) {
    if (isNew || !strokes.length) strokes.push([]);
    strokes[strokes.length - 1].push(point);
    showSheet();
    answer();
  }

  const inside = (share) => Math.min(Math.max(share, 0), 1);
  let isDown = false;
  sheet.canvas.addEventListener("pointerdown", (event) => {
    sheet.canvas.setPointerCapture(event.pointerId);
    isDown = true;
    cursor = null;
    append(pointed(sheet.canvas, event).map(inside), true);
  });
  sheet.canvas.addEventListener("pointermove", (event) => {
    if (isDown) append(pointed(sheet.canvas, event).map(inside), false);
  });
  for (const end of ["pointerup", "pointercancel"]) sheet.canvas.addEventListener(end, () => (isDown = false));

  let isDrawing = false; // by keyboard
  sheet.canvas.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step && event.key !== " ") return;
    event.preventDefault();
    cursor ??= [0.5, 0.5];
    if (!step) {
      isDrawing = !isDrawing;
      if (isDrawing) append(cursor, true);
    } else {
      cursor = [inside(cursor[0] + step[1] / SIDE), inside(cursor[1] + step[0] / SIDE)];
      if (isDrawing) append(cursor, false);
    }
    showSheet();
  });
  clear.addEventListener("click", () => {
    isDrawing = false;
    cursor = null;
    strokes = [];
    showSheet();
    showAnswer();
  });

  showSheet();
  showAnswer();
  return { node: root, view: view.canvas, picture: () => picture };
}

/** The sketchpad, and over what the network sees the box of a layer's middle unit. */
export function boxedSketchpad(network, data) {
  const { layers } = data;
  let chosen = 0;
  const name = make("p", { class: "lab-note" });
  const choices = strip(layers, (number) => choose(number));
  const layer = stepper("layer", () => layers.length - 1, (number) => choose(number));
  let pad = null;

  function showBox() {
    if (!pad) return;
    const shown = layers[chosen];
    const [rows, columns] = [shown.rows, shown.columns].map((axis) => axis[Math.floor(axis.length / 2)]);
    paint(pad.view, inkImage(pad.picture()));
    box(pad.view, rows, columns);
    name.textContent = `The box: what the middle unit of ${shown.title} sees, ${rows[2]}x${columns[2]} pixels.`;
    pad.view.setAttribute("aria-label", `the drawing as the network sees it. ${name.textContent}`);
    choices.show(chosen);
    layer.show(chosen, shown.title);
  }

  function choose(number) {
    chosen = number;
    showBox();
  }

  pad = sketchpad(network, data, showBox);
  pad.node.append(make("div", { class: "lab-controls" }, choices.node, layer.node), name);
  showBox();
  return pad;
}
