// lab.explore: a digit with the box of what a unit sees, and the feature maps of a layer.

function render({ model, el }) {
  const { node: root, release } = container("lab-explore");
  const digit = figure(
    { tabindex: 0, role: "img", class: "lab-digit", "aria-label": "digit: drag it, or move it with the arrow keys" },
    "the digit: drag it, or focus it and press arrow keys",
  );
  const map = figure(
    { tabindex: 0, role: "img", class: "lab-map", "aria-label": "feature map: point at a unit, or use the arrow keys" },
    "one channel: point at a unit, or use arrow keys",
  );
  const readout = make("p", { class: "lab-readout", role: "status", "aria-live": "polite" });
  const name = make("h4", { class: "lab-name" });
  const facts = make("dl", { class: "lab-facts" });
  const channels = make("div", { class: "lab-channels", role: "img" });
  const note = make("p", { class: "lab-note" });
  const layers = model.get("layers");
  const bars = strip(model);
  const layer = stepper(model, "layer", "layer", () => layers.length - 1);
  const channel = stepper(model, "channel", "channel", () => model.get("scene").shape[0] - 1);
  const image = stepper(model, "digit", "digit", () => model.get("digits") - 1);
  root.append(
    make("div", { class: "lab-controls" }, bars.node, layer.node),
    name,
    make("div", { class: "lab-pair" }, digit.node, map.node),
    readout,
    make("div", { class: "lab-controls" }, image.node, channel.node),
    channels,
    note,
    facts,
  );

  /** The scene's layer and unit. They arrive together; a unit chosen a moment ago may belong to the layer before. */
  const seen = () => {
    const shown = layers[model.get("scene").layer];
    const [row, column] = model.get("unit");
    return { shown, row, column, rows: shown.rows[row], columns: shown.columns[column] };
  };

  const showPixels = () => {
    const { pixels, maps, shape } = model.get("scene");
    const [count, height, width] = shape;
    const index = Math.min(model.get("channel"), count - 1);
    const { row, column, rows, columns } = seen();
    paint(digit.canvas, imageOf(pixels, SIDE, SIDE));
    box(digit.canvas, rows, columns);
    map.canvas.height = Math.round((map.canvas.width * height) / width);
    const zoom = map.canvas.width / width;
    paint(map.canvas, imageOf(maps, width, height, index * height * width * 4));
    frame(map.canvas, column, row, 1, 1, zoom, "#000000");
    [...channels.children].forEach((tile, i) => tile.classList.toggle("lab-chosen", i === index));
    readout.textContent =
      rows && columns && rows[2] && columns[2]
        ? `Unit ${row}, ${column} sees ${rows[2]}x${columns[2]} pixels: ` +
          `rows ${rows[0]} to ${rows[1]}, columns ${columns[0]} to ${columns[1]}.`
        : `Unit ${row}, ${column} sees nothing of the image.`;
    channel.show(`${index + 1} of ${count}`);
  };

  const showChannels = () => {
    const { maps, shape } = model.get("scene");
    const [count, height, width] = shape;
    if (channels.children.length !== count) {
      channels.replaceChildren(...Array.from({ length: count }, () => make("canvas")));
    }
    channels.classList.toggle("lab-single", height === 1 && width === 1);
    channels.setAttribute("aria-label", `${count} channels of ${height}x${width}`);
    [...channels.children].forEach((tile, i) => {
      tile.width = width;
      tile.height = height;
      tile.getContext("2d").putImageData(imageOf(maps, width, height, i * height * width * 4), 0, 0);
    });
  };

  const showLayer = () => {
    const { shown } = seen();
    name.textContent = shown.name;
    note.textContent = model.get("scene").note;
    facts.replaceChildren(
      ...shown.facts.map(([what, value]) => make("div", {}, make("dt", {}, what), make("dd", {}, value))),
    );
    bars.show();
    layer.show(shown.name);
    image.show(`${model.get("digit") + 1} of ${model.get("digits")}`);
  };

  const showAll = () => {
    showLayer();
    showChannels();
    showPixels();
  };

  const pickUnit = (event) => {
    const [, height, width] = model.get("scene").shape;
    const [x, y] = place(map.canvas, event);
    const inside = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
    choose(model, { unit: [inside(y, height), inside(x, width)] });
  };
  map.canvas.addEventListener("pointerdown", pickUnit);
  map.canvas.addEventListener("pointermove", pickUnit);
  map.canvas.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step) return;
    event.preventDefault();
    const [, height, width] = model.get("scene").shape;
    const [row, column] = model.get("unit");
    const within = (value, n) => Math.min(Math.max(value, 0), n - 1);
    choose(model, { unit: [within(row + step[0], height), within(column + step[1], width)] });
  });
  channels.addEventListener("pointerdown", (event) => {
    const index = [...channels.children].indexOf(event.target);
    if (index >= 0) choose(model, { channel: index });
  });

  const shiftTo = (down, right) => {
    const limit = model.get("max_shift");
    const within = (value) => Math.min(Math.max(Math.round(value), -limit), limit);
    const [now, next] = [model.get("shift"), [within(down), within(right)]];
    if (now[0] !== next[0] || now[1] !== next[1]) choose(model, { shift: next });
  };
  let grip = null;
  digit.canvas.addEventListener("pointerdown", (event) => {
    digit.canvas.setPointerCapture(event.pointerId);
    grip = { from: place(digit.canvas, event), shift: model.get("shift") };
  });
  digit.canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const [x, y] = place(digit.canvas, event);
    shiftTo(grip.shift[0] + (y - grip.from[1]) * SIDE, grip.shift[1] + (x - grip.from[0]) * SIDE);
  });
  for (const end of ["pointerup", "pointercancel"]) digit.canvas.addEventListener(end, () => (grip = null));
  digit.canvas.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    const [down, right] = model.get("shift");
    if (step) shiftTo(down + step[0], right + step[1]);
    else shiftTo(0, 0);
  });

  model.on("change:scene", showAll);
  for (const name of ["unit", "channel"]) model.on(`change:${name}`, showPixels);
  showAll();
  const stopWaiting = whenAlive(model, el, root);
  return () => {
    stopWaiting();
    release();
    model.off("change:scene", showAll);
    for (const name of ["unit", "channel"]) model.off(`change:${name}`, showPixels);
  };
}

export default { render };
