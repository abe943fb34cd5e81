// lab.draw: a canvas to draw on, what the network sees of it, and what it answers.

function render({ model, el }) {
  const { node: root, release } = container("lab-draw");
  const sheet = figure(
    { tabindex: 0, role: "img", class: "lab-sheet", "aria-label": "draw a digit here; arrow keys move, space draws" },
    "draw here: mouse, finger or pen",
  );
  const view = figure({ role: "img", class: "lab-view" }, "what the network sees, 28x28");
  const clear = make("button", { type: "button" }, "clear");
  const readout = make("p", { class: "lab-readout", role: "status", "aria-live": "polite" });
  const bars = make("div", { class: "lab-bars", role: "list", "aria-label": "probabilities" });
  const layers = model.get("layers");
  const name = make("p", { class: "lab-note" });
  const choices = strip(model);
  const layer = stepper(model, "layer", "layer", () => layers.length - 1);
  root.append(
    make("div", { class: "lab-pair" }, sheet.node, view.node),
    make("div", { class: "lab-controls" }, clear),
    readout,
    bars,
    make("div", { class: "lab-controls" }, choices.node, layer.node),
    name,
  );

  let cursor = null; // where the keyboard's pen is, once it has moved
  const showSheet = () => {
    const { width, height } = sheet.canvas;
    const context = sheet.canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = "#000000";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = model.get("pen") * width;
    for (const stroke of model.get("strokes")) {
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
  };

  const showBox = () => {
    const shown = layers[model.get("layer")];
    const { pixels } = model.get("answer");
    const [row, column] = shown.middle;
    const context = view.canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, view.canvas.width, view.canvas.height);
    if (pixels) paint(view.canvas, imageOf(pixels, SIDE, SIDE));
    box(view.canvas, shown.rows[row], shown.columns[column]);
    const size = `${shown.rows[row][2]}x${shown.columns[column][2]} pixels`;
    name.textContent = `The box: what the middle unit of ${shown.name} sees, ${size}.`;
    view.canvas.setAttribute("aria-label", `the drawing as the network sees it. ${name.textContent}`);
    choices.show();
    layer.show(shown.name);
  };

  const showAnswer = () => {
    const { text, bars: rows } = model.get("answer");
    const most = Math.max(...rows.map((row) => row.share));
    readout.textContent = text;
    bars.replaceChildren(
      ...rows.map((row) =>
        make(
          "div",
          { role: "listitem", ...(row.share > 0 && row.share === most ? { class: "lab-best" } : {}) },
          make("span", {}, row.name),
          make("div", {}, make("div", { style: `width: ${100 * row.share}%` })),
          make("span", {}, row.text),
        ),
      ),
    );
    showBox();
  };

  const append = (point, isNew) => {
    const strokes = model.get("strokes");
    const last = isNew ? [] : strokes[strokes.length - 1] ?? [];
    choose(model, { strokes: [...(isNew ? strokes : strokes.slice(0, -1)), [...last, point]] });
  };
  const inside = (value) => Math.min(Math.max(value, 0), 1);
  let isDown = false;
  sheet.canvas.addEventListener("pointerdown", (event) => {
    sheet.canvas.setPointerCapture(event.pointerId);
    isDown = true;
    cursor = null;
    append(place(sheet.canvas, event).map(inside), true);
  });
  sheet.canvas.addEventListener("pointermove", (event) => {
    if (isDown) append(place(sheet.canvas, event).map(inside), false);
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
    choose(model, { strokes: [] });
  });

  const changes = { "change:strokes": showSheet, "change:answer": showAnswer, "change:layer": showBox };
  for (const [event, show] of Object.entries(changes)) model.on(event, show);
  showSheet();
  showAnswer();
  const stopWaiting = whenAlive(model, el, root);
  return () => {
    stopWaiting();
    release();
    for (const [event, show] of Object.entries(changes)) model.off(event, show);
  };
}

export default { render };
