// A digit with the box of what a unit sees, the feature maps of a layer, how a unit's value comes about, and which
// places speak for which class.
import { SIDE, shifted, toInput } from "./digit.js";
import {
  arrow, box, cells, container, figure, frame, inkImage, limitOf, make, mapImage, paint, pointed, stepper, strip, within,
} from "./elements.js";
import { evidence, explained, short, signed } from "./explain.js";
import { gathered, size, stridesOf } from "./network.js";

const MAX_SHIFT = 8; // pixels that a digit can be dragged
const MAX_CHANNELS = 256; // feature maps of one layer that are shown
const MAX_PARTS = 6; // channels of a patch that are shown at first

/**
 * data: what lab/widgets/packing.py makes. Gives { node, speaking, show(image) }: `speaking` shows the evidence for each
 * class and has no place in the page yet; `show` puts an image in front of the others.
 */
export function explorer(network, data) {
  const { layers, palette } = data;
  const images = [...data.images];
  const state = { layer: 0, channel: 0, row: 0, column: 0, digit: 0, down: 0, right: 0, isOpen: false };
  let picture = images[0]; // as it is shown, grey levels
  let values = network.run(toInput(picture, data.normalisation)); // of every operation, for that picture

  const root = container("lab-explore");
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
  const account = make("div", { class: "lab-account" });
  const speaking = make("div", { class: "lab-evidence" });
  const bars = strip(layers, (layer) => chooseLayer(layer));
  const layer = stepper("layer", () => layers.length - 1, (chosen) => chooseLayer(chosen));
  const channel = stepper("channel", () => maps().count - 1, (chosen) => choose({ channel: chosen }));
  const image = stepper("digit", () => images.length - 1, (chosen) => chooseImage({ digit: chosen }));
  root.append(
    make("div", { class: "lab-controls" }, bars.node, layer.node),
    name,
    make("div", { class: "lab-pair" }, digit.node, map.node),
    readout,
    make("div", { class: "lab-controls" }, image.node, channel.node),
    channels,
    note,
    account,
    facts,
  );

  /** The chosen layer's output as maps: how many, their size, and where in the output number (c, row, column) lies. */
  function maps() {
    const shown = layers[state.layer];
    const { shape, data: numbers } = values.get(shown.name);
    const strides = stridesOf(shape);
    const laid = shown.along.filter((axis) => axis !== null).map((axis) => axis - 1);
    const others = shape.map((_, axis) => axis).filter((axis) => !laid.includes(axis));
    const [height, width] = shown.units;
    const order = [...others, ...laid];
    const view = { shape: order.map((axis) => shape[axis]), strides: order.map((axis) => strides[axis]) };
    const at = (c, row, column) => {
      const within_ = stridesOf(view.shape);
      const flat = (c * height + row) * width + column;
      return view.shape.reduce((sum, n, i) => sum + (Math.floor(flat / within_[i]) % n) * view.strides[i], 0);
    };
    return { count: size(shape) / height / width, height, width, numbers, view, at };
  }

  function choose(change) {
    Object.assign(state, change);
    showUnit();
  }

  function chooseLayer(number) {
    state.layer = number;
    const { count, height, width } = maps();
    state.channel = within(state.channel, Math.min(count, MAX_CHANNELS));
    [state.row, state.column] = [Math.floor(height / 2), Math.floor(width / 2)];
    showLayer();
  }

  function chooseImage(change) {
    Object.assign(state, change);
    picture = shifted(images[state.digit], state.down, state.right);
    values = network.run(toInput(picture, data.normalisation));
    showLayer();
    showEvidence();
  }

  function showLayer() {
    const shown = layers[state.layer];
    name.textContent = shown.title;
    facts.replaceChildren(
      ...shown.facts.map(([what, value]) => make("div", {}, make("dt", {}, what), make("dd", {}, value))),
    );
    bars.show(state.layer);
    layer.show(state.layer, shown.title);
    image.show(state.digit, `${state.digit + 1} of ${images.length}`);
    showChannels();
    showUnit();
  }

  function showChannels() {
    const { count, height, width, numbers, view } = maps();
    const [every, n] = [gathered(numbers, view.shape, view.strides), height * width];
    const shown = Math.min(count, MAX_CHANNELS);
    note.textContent = shown < count ? `the first ${shown} of ${count} channels` : "";
    if (channels.children.length !== shown) {
      channels.replaceChildren(...Array.from({ length: shown }, () => make("canvas")));
    }
    channels.classList.toggle("lab-single", n === 1);
    channels.setAttribute("aria-label", `${count} channels of ${height}x${width}`);
    const limit = limitOf(every);
    [...channels.children].forEach((tile, c) => {
      [tile.width, tile.height] = [width, height];
      const painted = mapImage(every.subarray(c * n, (c + 1) * n), width, height, limit, palette);
      tile.getContext("2d").putImageData(painted, 0, 0);
    });
  }

  function showUnit() {
    const { count, height, width, numbers, view, at } = maps();
    const { row, column } = state;
    const c = within(state.channel, Math.min(count, MAX_CHANNELS));
    const shown = layers[state.layer];
    const [rows, columns] = [shown.rows[row], shown.columns[column]];
    paint(digit.canvas, inkImage(picture));
    box(digit.canvas, rows, columns);
    map.canvas.height = Math.round((map.canvas.width * height) / width);
    const every = gathered(numbers, view.shape, view.strides);
    const plane = every.subarray(c * height * width, (c + 1) * height * width);
    paint(map.canvas, mapImage(plane, width, height, limitOf(every), palette));
    frame(map.canvas, column, row, 1, 1, map.canvas.width / width, "#000000");
    [...channels.children].forEach((tile, i) => tile.classList.toggle("lab-chosen", i === c));
    const value = short(numbers[at(c, row, column)]);
    readout.textContent =
      rows[2] && columns[2]
        ? `Unit ${row}, ${column} is ${value}. It sees ${rows[2]}x${columns[2]} pixels: ` +
          `rows ${rows[0]} to ${rows[1]}, columns ${columns[0]} to ${columns[1]}.`
        : `Unit ${row}, ${column} is ${value}. It sees nothing of the image.`;
    channel.show(c, `${c + 1} of ${count}`);
    showAccount(network.operations.find((op) => op.name === shown.name), at(c, row, column));
  }

  /** How the chosen unit's value comes about. */
  function showAccount(op, at) {
    const found = explained(network, values, op, at);
    account.replaceChildren();
    if (!found) return;
    const value = make("strong", {}, short(found.value));
    if (found.parts) account.append(make("h5", {}, "Weights times patch"), ...products(found, value));
    else if (found.pool) {
      const patch = cells(found.inputs, found.width, found.height, limitOf(found.inputs), palette, found.best);
      const line = make("p", {}, `The ${found.pool} of these ${found.inputs.length}: `, value, ".");
      account.append(make("h5", {}, "The patch"), make("div", { class: "lab-part" }, patch), line);
    } else account.append(make("h5", {}, "How it comes about"), make("p", {}, `${found.text} = `, value));
  }

  function products({ parts, bias }, value) {
    const ordered = [...parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const shown = state.isOpen ? ordered : ordered.slice(0, MAX_PARTS);
    const rest = ordered.slice(shown.length);
    const limits = ["inputs", "weights", "products"].map((what) => limitOf(parts.flatMap((part) => part[what] ?? 0)));
    const rows = shown.map((part) => {
      const wide = part.height === 1 ? Math.min(part.width, 24) : part.width; // a long vector, in lines
      const tile = (what, limit) => cells(part[what], wide, Math.ceil(part[what].length / wide), limit, palette);
      return make(
        "div",
        { class: "lab-part", role: "img", "aria-label": `${part.name}: the products add up to ${short(part.sum)}` },
        make("span", {}, part.name),
        tile("inputs", limits[0]), "×", tile("weights", limits[1]), "=", tile("products", limits[2]),
        make("span", { class: "lab-sum" }, short(part.sum)),
      );
    });
    const titles = ["", "patch", "", "weights", "", "products", "sum"].map((words) => make("span", {}, words));
    const grid = make("div", { class: "lab-parts" }, make("div", { class: "lab-part lab-titles" }, ...titles), ...rows);
    const sums = parts.reduce((sum, part) => sum + part.sum, 0);
    const line = bias === null ? make("p", {}, "All products add up to ", value, "; the layer has no bias.")
      : make("p", {}, `All products add up to ${short(sums)}, and the bias is ${short(bias)}: `,
          `${short(sums)} + ${signed(bias)} = `, value, ".");
    if (parts.length <= MAX_PARTS) return [grid, line];
    const left = rest.reduce((sum, part) => sum + part.sum, 0);
    const words = state.isOpen ? "show fewer" : `show the other ${rest.length} channels, which add ${short(left)}`;
    const toggle = make("button", { type: "button" }, words);
    toggle.addEventListener("click", () => choose({ isOpen: !state.isOpen }));
    return [grid, toggle, line];
  }

  /** For each class, how much each place of the last map adds to its score. */
  function showEvidence() {
    const found = evidence(network, values);
    const heading = make("h5", {}, "Which places speak for which class");
    if (!found) {
      const why = "Not available: this network does not end in a fully connected layer that reads a map.";
      speaking.replaceChildren(heading, make("p", {}, why));
      return;
    }
    const { height, width, classes } = found;
    const limit = limitOf(classes.flatMap(({ map: part }) => [...part]));
    const best = classes.reduce((most, each, k) => (each.score > classes[most].score ? k : most), 0);
    const tiles = classes.map(({ score, bias, map: part }, k) => {
      const words = `class ${k}: evidence ${short(score - bias)}, bias ${short(bias)}, score ${short(score)}`;
      const canvas = cells([...part], width, height, limit, palette);
      const caption = make("figcaption", {}, make("strong", {}, `${k}`), ` ${short(score)}`);
      const attributes = { role: "img", title: words, "aria-label": words, ...(k === best ? { class: "lab-best" } : {}) };
      return make("figure", attributes, canvas, caption);
    });
    const line =
      `What each of the ${height}x${width} places of the last map adds to each class's score: weight times value, ` +
      `summed over channels; red speaks for the class, blue against it. For ${best}, the places add ` +
      `${short(classes[best].score - classes[best].bias)}, and with the bias of ${short(classes[best].bias)} ` +
      `its score is ${short(classes[best].score)}.`;
    speaking.replaceChildren(heading, make("p", {}, line), make("div", { class: "lab-classes" }, ...tiles));
  }

  const pickUnit = (event) => {
    const { height, width } = maps();
    const [x, y] = pointed(map.canvas, event);
    choose({ row: within(Math.floor(y * height), height), column: within(Math.floor(x * width), width) });
  };
  map.canvas.addEventListener("pointerdown", pickUnit);
  map.canvas.addEventListener("pointermove", pickUnit);
  map.canvas.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step) return;
    event.preventDefault();
    const { height, width } = maps();
    choose({ row: within(state.row + step[0], height), column: within(state.column + step[1], width) });
  });
  channels.addEventListener("pointerdown", (event) => {
    const index = [...channels.children].indexOf(event.target);
    if (index >= 0) choose({ channel: index });
  });

  const shiftTo = (down, right) => {
    const limited = (pixels) => Math.min(Math.max(Math.round(pixels), -MAX_SHIFT), MAX_SHIFT);
    const [to, across] = [limited(down), limited(right)];
    if (to === state.down && across === state.right) return;
    const { row, column } = state;
    Object.assign(state, { down: to, right: across });
    chooseImage({ row, column });
  };
  let grip = null;
  digit.canvas.addEventListener("pointerdown", (event) => {
    digit.canvas.setPointerCapture(event.pointerId);
    grip = { from: pointed(digit.canvas, event), down: state.down, right: state.right };
  });
  digit.canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const [x, y] = pointed(digit.canvas, event);
    shiftTo(grip.down + (y - grip.from[1]) * SIDE, grip.right + (x - grip.from[0]) * SIDE);
  });
  for (const end of ["pointerup", "pointercancel"]) digit.canvas.addEventListener(end, () => (grip = null));
  digit.canvas.addEventListener("keydown", (event) => {
    const step = arrow(event);
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    if (step) shiftTo(state.down + step[0], state.right + step[1]);
    else shiftTo(0, 0);
  });

  let hasOwn = false;
  /** Puts an image in front of the others and chooses it. */
  function show(shown) {
    if (hasOwn) images[0] = shown;
    else images.unshift(shown);
    hasOwn = true;
    chooseImage({ digit: 0, down: 0, right: 0 });
  }

  chooseLayer(0);
  showEvidence();
  return { node: root, speaking, show };
}
