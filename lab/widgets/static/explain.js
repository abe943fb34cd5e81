// How one unit's value comes about, and how much of the evidence for each class comes from where.
import { shared, size, slid, stridesOf } from "./network.js";

/** Kinds that change a number by itself, or not at all: they may stand between a score and the network's output. */
const PASSING = new Set(["activation", "softmax", "scale", "dropout", "reshape"]);

/**
 * How number `at` of an operation's output comes about, in terms of its inputs:
 *   { parts: [{ name, height, width, inputs, weights, products, sum }], bias, value }   weights times patch, summed;
 *                                                                                       bias: null without one
 *   { pool: "maximum" or "mean", height, width, inputs, best, value }                   the patch; best: of the maximum
 *   { text, value }                                                                     one number made of one or two
 * Inputs that lie in the padding are null. null for a kind of which nothing as short can be said.
 */
export function explained(network, values, op, at) {
  const { data } = values.get(op.name);
  const account = ACCOUNTS[op.kind]?.(op, op.inputs.map((name) => values.get(name)), at, network, values);
  return account ? { ...account, value: data[at] } : null;
}

/** Where number `at` of a shape lies, by axis. */
function placeOf(at, shape) {
  return stridesOf(shape).map((step, axis) => Math.floor(at / step) % shape[axis]);
}

const ACCOUNTS = {
  conv2d(op, [x], at, network) {
    const [weight, bias] = [network.tensor(op.weight, op), network.tensor(op.bias, op)];
    const [channels, rows, columns] = x.shape;
    const [output, i, j] = placeOf(at, op.shape);
    const [height, width] = op.kernel;
    const each = channels / op.groups;
    const first = Math.floor(output / (op.shape[0] / op.groups)) * each;
    const parts = Array.from({ length: each }, (_, c) => {
      const inputs = Array.from({ length: height * width }, (_, tap) => {
        const y = i * op.stride[0] - op.padding[0] + Math.floor(tap / width) * op.dilation[0];
        const x_ = j * op.stride[1] - op.padding[2] + (tap % width) * op.dilation[1];
        const exists = y >= 0 && y < rows && x_ >= 0 && x_ < columns;
        return exists ? x.data[((first + c) * rows + y) * columns + x_] : null;
      });
      const start = (output * each + c) * height * width;
      return part(`channel ${first + c + 1}`, height, width, inputs, weight.data.slice(start, start + height * width));
    });
    return { parts, bias: bias ? bias.data[output] : null };
  },

  linear(op, [x], at, network, values) {
    const [weight, bias] = [network.tensor(op.weight, op), network.tensor(op.bias, op)];
    const [outputs, n] = weight.shape;
    const [row, output] = [Math.floor(at / outputs), at % outputs];
    const map = op.shape.length === 1 ? mapBehind(network, values, op.inputs[0]) : null;
    const [count, height, width] = map ? map.shape : [1, 1, n];
    const parts = Array.from({ length: count }, (_, c) => {
      const [start, length] = [c * height * width, height * width];
      const inputs = Array.from(x.data.subarray(row * n + start, row * n + start + length));
      const weights = weight.data.slice(output * n + start, output * n + start + length);
      return part(map ? `channel ${c + 1}` : `the ${n} inputs`, height, width, inputs, weights);
    });
    return { parts, bias: bias ? bias.data[output] : null };
  },

  max_pool(op, [x], at) {
    const [rows, columns] = patch(op, x, at, (axis, i, n) =>
      slid(i, n, op.kernel[axis], op.stride[axis], op.padding[axis], op.dilation[axis]),
    );
    return pooled("maximum", x, rows, columns, op, at);
  },

  avg_pool(op, [x], at) {
    const [rows, columns] = patch(op, x, at, (axis, i, n) =>
      slid(i, n, op.kernel[axis], op.stride[axis], op.padding[axis]),
    );
    return pooled("mean", x, rows, columns, op, at);
  },

  adaptive_pool(op, [x], at) {
    const [rows, columns] = patch(op, x, at, (axis, i, n) => shared(i, n, op.shape[op.shape.length - 2 + axis]));
    return pooled(op.reduce === "max" ? "maximum" : "mean", x, rows, columns, op, at);
  },

  batch_norm(op, [x], at, network) {
    const [weight, bias, mean, variance] = [op.weight, op.bias, op.running_mean, op.running_var].map((name) => {
      return network.tensor(name, op);
    });
    if (op.training === "always" || !mean || !variance) return null;
    const c = placeOf(at, op.shape)[0];
    const spread = Math.sqrt(variance.data[c] + op.eps);
    const scaled = `(${short(x.data[at])} − ${signed(mean.data[c])}) / ${short(spread)}`;
    const [factor, shift] = [weight ? weight.data[c] : 1, bias ? bias.data[c] : 0];
    return { text: `(value − mean) / deviation × scale + shift: ${scaled} × ${signed(factor)} + ${signed(shift)}` };
  },

  activation: (op, [x], at) => ({ text: `${op.function} of ${short(x.data[at])}` }),

  prelu: (op, [x], at) => ({ text: `prelu of ${short(x.data[at])}` }),

  scale: (op, [x], at) => ({ text: `${short(x.data[at])} × ${signed(op.factor)} + ${signed(op.shift)}` }),

  add: (op, inputs, at) => met(op, inputs, at, op.alpha === 1 ? "+" : `+ ${signed(op.alpha)} ×`),

  mul: (op, inputs, at) => met(op, inputs, at, "×"),

  dropout: (op, [x], at) => (op.training === "always" ? null : { text: `${short(x.data[at])}, passed on as it is` }),

  reshape: (op, [x], at) => ({ text: `${short(x.data[at])}, put in its place` }),
};

function part(name, height, width, inputs, weights) {
  const products = inputs.map((input, i) => (input ?? 0) * weights[i]);
  return { name, height, width, inputs, weights: [...weights], products, sum: products.reduce((a, b) => a + b, 0) };
}

/** Two maps of the output's shape, number by number; nothing short can be said where one is repeated. */
function met(op, inputs, at, sign) {
  if (op.tensor !== null || inputs.some((x) => x.data.length !== size(op.shape))) return null;
  return { text: `${short(inputs[0].data[at])} ${sign} ${signed(inputs[1].data[at])}` };
}

/** The windows of number `at` along rows and columns, by window(axis, unit, units that there are). */
function patch(op, x, at, window) {
  const [row, column] = placeOf(at, op.shape).slice(-2);
  const [height, width] = x.shape.slice(-2);
  return [window(0, row, height), window(1, column, width)];
}

function pooled(pool, x, rows, columns, op, at) {
  const [height, width] = x.shape.slice(-2);
  const plane = Math.floor(at / size(op.shape.slice(-2))) * height * width;
  const counted = ([first, end, step]) =>
    Array.from({ length: Math.ceil((end - first) / step) }, (_, i) => first + i * step);
  const [down, across] = [counted(rows), counted(columns)];
  const inputs = down.flatMap((y) => across.map((x_) => x.data[plane + y * width + x_]));
  const best = pool === "maximum" ? inputs.indexOf(Math.max(...inputs)) : null;
  return { pool, height: down.length, width: across.length, inputs, best };
}

/** The map (channels, rows, columns) whose numbers, in their order, are those of the vector `name`; null without one. */
function mapBehind(network, values, name) {
  const found = values.get(nearestNot(network, name, passesOn));
  return found.shape.length === 3 && size(found.shape) === size(values.get(name).shape) ? found : null;
}

/** Does an operation pass on its numbers, in their order? */
function passesOn(op) {
  return op.kind === "reshape" || (op.kind === "dropout" && op.training !== "always");
}

/** The first name, from `name` backwards, whose operation is not one to `skip`. */
function nearestNot(network, name, skip) {
  const op = network.operations.find((each) => each.name === name);
  return op && skip(op) ? nearestNot(network, op.inputs[0], skip) : name;
}

/**
 * How much of each class's score comes from each place of the last map: for every class
 * { score, bias, map: Float32Array }, all maps of `height` x `width`, whose numbers and the bias add up to the score.
 *
 * For a fully connected layer at the end that reads a map place by place, flattened or averaged over its places: weight
 * times value, summed over channels (for the average, Zhou et al., "Learning Deep Features for Discriminative
 * Localization", CVPR 2016, equation 2). null for any other network.
 */
export function evidence(network, values) {
  const last = network.operations[network.operations.length - 1].name;
  const head = nearestNot(network, last, (op) => PASSING.has(op.kind));
  const op = network.operations.find((each) => each.name === head);
  if (op?.kind !== "linear" || op.shape.length !== 1) return null;
  const flat = mapBehind(network, values, op.inputs[0]);
  const averaged = flat && flat.shape[1] * flat.shape[2] > 1 ? null : averagedBehind(network, values, op.inputs[0]);
  const map = averaged ?? flat;
  if (!map) return null;
  const [channels, height, width] = map.shape;
  const places = height * width;
  const [weight, bias] = [network.tensor(op.weight, op), network.tensor(op.bias, op)];
  const classes = Array.from(values.get(head).data, (score, k) => {
    const part = new Float32Array(places);
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < places; p++) {
        const factor = averaged ? weight.data[k * channels + c] / places : weight.data[(k * channels + c) * places + p];
        part[p] += factor * map.data[c * places + p];
      }
    }
    return { score, bias: bias ? bias.data[k] : 0, map: part };
  });
  return { height, width, classes };
}

/** The map whose average over all its places the vector `name` is; null without one. */
function averagedBehind(network, values, name) {
  const found = nearestNot(network, name, passesOn);
  const op = network.operations.find((each) => each.name === found);
  const over = op?.kind === "mean" && op.axes.join() === "2,3";
  const pool = op?.kind === "adaptive_pool" && op.reduce === "avg" && op.size.join() === "1,1";
  const map = over || pool ? values.get(op.inputs[0]) : null;
  return map?.shape.length === 3 && map.shape[0] === size(values.get(name).shape) ? map : null;
}

/** A number for a person: three digits that count. */
export function short(number) {
  if (!Number.isFinite(number)) return String(number);
  const digits = Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 10 ? 1 : 2;
  const text = number.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/** The same, in brackets where a minus sign would stand next to another sign. */
export function signed(number) {
  return short(number).startsWith("−") ? `(${short(number)})` : short(number);
}
