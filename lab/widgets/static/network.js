// A network, executed in the page: the operations of lab/operations.py on one image, as in eval mode.
//
// A value is { shape, data }: a shape without the batch, and a Float32Array with the numbers in row-major order. Axes are
// counted as in Python, with the batch as axis 0: axis 1 is shape[0]. Sums are kept in float64, outputs in float32.

/** What can't be executed, and why. */
export class NetworkError extends Error {}

export class Network {
  /**
   * document: a graph as in graph.json, version 2. weights: by tensor, base64 of its numbers, float32 and little-endian.
   * Throws NetworkError.
   */
  constructor(document, weights) {
    if (document?.format !== "lab994/graph" || document.version !== 2) {
      throw new NetworkError("this is no graph of the lab's, version 2");
    }
    this.inputShape = document.input_shape;
    this.operations = document.operations;
    this.tensors = unpacked(document.tensors, weights);
    const known = new Set(["input"]);
    for (const op of this.operations) {
      if (!Object.hasOwn(KINDS, op.kind)) throw new NetworkError(`${op.name}: the kind ${op.kind} is unknown`);
      for (const name of op.inputs) {
        if (!known.has(name)) throw new NetworkError(`${op.name}: its input ${name} comes from nowhere`);
      }
      known.add(op.name);
    }
  }

  /** Every intermediate value, by the name of its operation, for one image (numbers as the network expects them). */
  run(image) {
    if (image.length !== size(this.inputShape)) {
      throw new NetworkError(`the image has ${image.length} numbers, expected ${this.inputShape.join("x")}`);
    }
    const values = new Map([["input", { shape: this.inputShape, data: Float32Array.from(image) }]]);
    for (const op of this.operations) {
      const inputs = op.inputs.map((name) => values.get(name));
      const data = KINDS[op.kind](op, inputs, (name) => this.tensor(name, op));
      if (data.length !== size(op.shape)) {
        throw new NetworkError(`${op.name}: gives ${data.length} numbers, expected ${op.shape.join("x")}`);
      }
      values.set(op.name, { shape: op.shape, data });
    }
    return values;
  }

  /** The output of the last operation. */
  output(values) {
    return values.get(this.operations[this.operations.length - 1].name).data;
  }

  /** A stored tensor; null for the name null, which stands for a tensor that the operation does without. */
  tensor(name, op) {
    if (name === null) return null;
    if (!this.tensors.has(name)) throw new NetworkError(`${op.name}: there is no tensor ${name}`);
    return this.tensors.get(name);
  }
}

/** Shape and numbers of each tensor, by name. */
function unpacked(tensors, weights) {
  return new Map(
    Object.entries(tensors).map(([name, { shape }]) => {
      const bytes = Uint8Array.from(atob(weights[name] ?? ""), (letter) => letter.charCodeAt(0));
      if (bytes.length !== 4 * size(shape)) {
        throw new NetworkError(`the tensor ${name} has ${bytes.length} bytes, expected ${4 * size(shape)}`);
      }
      const view = new DataView(bytes.buffer);
      return [name, { shape, data: Float32Array.from({ length: size(shape) }, (_, i) => view.getFloat32(4 * i, true)) }];
    }),
  );
}

// -- shapes -----------------------------------------------------------------------------------------------------------

/** How many numbers a shape holds. */
export function size(shape) {
  return shape.reduce((product, n) => product * n, 1);
}

/** By axis, how far apart in the data two neighbours lie. */
export function stridesOf(shape) {
  const strides = new Array(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

/** The numbers at start + i * strides[0] + j * strides[1] + ..., for every index (i, j, ...) below `shape`, in order. */
export function gathered(data, shape, strides, start = 0) {
  const out = new Float32Array(size(shape));
  let at = 0;
  const walk = (axis, place) => {
    if (axis === shape.length) {
      out[at++] = data[place];
    } else if (axis === shape.length - 1) {
      for (let i = 0; i < shape[axis]; i++) out[at++] = data[place + i * strides[axis]];
    } else {
      for (let i = 0; i < shape[axis]; i++) walk(axis + 1, place + i * strides[axis]);
    }
  };
  walk(0, start);
  return out;
}

/** A value repeated along axes of one unit until it has `shape`, as PyTorch's broadcasting does. */
function expanded({ shape, data }, to) {
  const own = shape.slice(Math.max(0, shape.length - to.length)); // a stored tensor may have an axis for the batch
  const strides = stridesOf(own);
  const missing = to.length - own.length;
  const steps = to.map((_, axis) => (axis < missing || own[axis - missing] === 1 ? 0 : strides[axis - missing]));
  return gathered(data, to, steps);
}

/** A shape around one axis, as three numbers: before it, along it, after it. */
function around(shape, axis) {
  return [size(shape.slice(0, axis)), shape[axis], size(shape.slice(axis + 1))];
}

/** A shape as planes of rows and columns: their number, height and width. */
function planes(shape) {
  const [height, width] = shape.slice(-2);
  return [size(shape.slice(0, -2)), height, width];
}

// -- what several kinds share -----------------------------------------------------------------------------------------

const same = (_, [x]) => x.data;

/**
 * Each window of each plane, in order, brought to one number by `reduce(plane, rows, columns, row, column)`.
 * rows(i), columns(j): the windows of unit (i, j), as [first, end, step], within the plane.
 */
function windows(op, [x], rows, columns, reduce) {
  const [count, height, width] = planes(x.shape);
  const [, high, wide] = planes(op.shape);
  const out = new Float32Array(size(op.shape));
  let at = 0;
  for (let c = 0; c < count; c++) {
    const plane = x.data.subarray(c * height * width, (c + 1) * height * width);
    for (let i = 0; i < high; i++) {
      for (let j = 0; j < wide; j++) out[at++] = reduce(plane, rows(i, height), columns(j, width), i, j, width);
    }
  }
  return out;
}

/** The window of unit i in n units, as [first, end, step]: only the units that exist, whatever the padding. */
export function slid(i, n, kernel, stride, padding, dilation = 1) {
  let first = i * stride - padding;
  const end = Math.min(n, first + (kernel - 1) * dilation + 1);
  if (first < 0) first += Math.ceil(-first / dilation) * dilation;
  return [first, end, dilation];
}

/** The window of unit i of `of` in n units, for adaptive pooling. */
export function shared(i, n, of) {
  return [Math.floor((i * n) / of), Math.ceil(((i + 1) * n) / of), 1];
}

function largest(plane, rows, columns, _, __, width) {
  let most = -Infinity;
  for (let y = rows[0]; y < rows[1]; y += rows[2]) {
    for (let x = columns[0]; x < columns[1]; x += columns[2]) {
      const value = plane[y * width + x];
      if (value > most || Number.isNaN(value)) most = value;
    }
  }
  return most;
}

function total(plane, rows, columns, width) {
  let sum = 0;
  for (let y = rows[0]; y < rows[1]; y++) {
    for (let x = columns[0]; x < columns[1]; x++) sum += plane[y * width + x];
  }
  return sum;
}

function mean(plane, rows, columns, _, __, width) {
  return total(plane, rows, columns, width) / ((rows[1] - rows[0]) * (columns[1] - columns[0]));
}

/** Does an operation act as in training? In eval mode only where the network says so whatever the mode. */
const acts = (op) => op.training === "always";

/** Each group of `n` numbers in a row made to have mean 0 and variance 1; then a scale and a shift for each number. */
function normalised(data, n, eps, scale, shift) {
  const out = new Float32Array(data.length);
  for (let start = 0; start < data.length; start += n) {
    const [mean, variance] = moments(data, start, n);
    const factor = 1 / Math.sqrt(variance + eps);
    for (let i = start; i < start + n; i++) out[i] = (data[i] - mean) * factor * scale(i) + shift(i);
  }
  return out;
}

function moments(data, start, n) {
  let sum = 0;
  for (let i = start; i < start + n; i++) sum += data[i];
  const mean = sum / n;
  let squares = 0;
  for (let i = start; i < start + n; i++) squares += (data[i] - mean) ** 2;
  return [mean, squares / n];
}

/** A function of i from a stored tensor, or a constant where there is none. */
const entry = (tensor, index, otherwise) => (tensor ? (i) => tensor.data[index(i)] : () => otherwise);

function pairwise(op, inputs, tensor, meet) {
  const [one, other] = [inputs[0], op.tensor === null ? inputs[1] : tensor(op.tensor)];
  const [a, b] = [expanded(one, op.shape), expanded(other, op.shape)];
  return a.map((number, i) => meet(number, b[i]));
}

// -- functions of one number ------------------------------------------------------------------------------------------

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const relu6 = (x) => clamp(x, 0, 6);
const softplus = (x, beta = 1, threshold = 20) => (x * beta > threshold ? x : Math.log1p(Math.exp(x * beta)) / beta);

/** Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7. */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

/** As PyTorch computes them, with its defaults. */
const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  relu6,
  leaky_relu: (x, slope = 0.01) => (x > 0 ? x : x * slope),
  elu: (x, alpha = 1) => (x > 0 ? x : alpha * Math.expm1(x)),
  celu: (x, alpha = 1) => (x > 0 ? x : alpha * Math.expm1(x / alpha)),
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
  gelu: (x, tanh = 0) =>
    0.5 * x * (1 + (tanh ? Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)) : erf(x / Math.SQRT2))),
  silu: (x) => x * sigmoid(x),
  mish: (x) => x * Math.tanh(softplus(x)),
  sigmoid,
  tanh: Math.tanh,
  hardtanh: (x, low = -1, high = 1) => clamp(x, low, high),
  hardswish: (x) => (x * relu6(x + 3)) / 6,
  hardsigmoid: (x) => relu6(x + 3) / 6,
  softplus,
  logsigmoid: (x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x))),
};

// -- every kind of operation: (op, inputs, tensor) -> the output's numbers --------------------------------------------

const KINDS = {
  /** One plane at a time; for each weight, the whole plane it is multiplied with. */
  conv2d(op, [x], tensor) {
    const [weight, bias] = [tensor(op.weight), tensor(op.bias)];
    const [channels, height, width] = x.shape;
    const [outputs, high, wide] = op.shape;
    const [tall, broad] = op.kernel;
    const each = channels / op.groups; // input channels that one output channel reads
    const out = new Float32Array(outputs * high * wide);
    const sums = new Float64Array(high * wide);
    /** The units [first, end) whose tap, `offset` units behind their window's start, lies on one of n units. */
    const reached = (offset, stride, n, units) => [
      Math.max(0, Math.ceil(-offset / stride)),
      Math.min(units, Math.floor((n - 1 - offset) / stride) + 1),
    ];
    for (let o = 0; o < outputs; o++) {
      sums.fill(bias ? bias.data[o] : 0);
      const first = Math.floor(o / (outputs / op.groups)) * each;
      for (let c = 0; c < each; c++) {
        for (let ky = 0; ky < tall; ky++) {
          const down = ky * op.dilation[0] - op.padding[0];
          const [top, bottom] = reached(down, op.stride[0], height, high);
          for (let kx = 0; kx < broad; kx++) {
            const across = kx * op.dilation[1] - op.padding[2];
            const [left, right] = reached(across, op.stride[1], width, wide);
            const factor = weight.data[((o * each + c) * tall + ky) * broad + kx];
            for (let i = top; i < bottom; i++) {
              let from = ((first + c) * height + i * op.stride[0] + down) * width + left * op.stride[1] + across;
              for (let at = i * wide + left; at < i * wide + right; at++) {
                sums[at] += factor * x.data[from];
                from += op.stride[1];
              }
            }
          }
        }
      }
      out.set(sums, o * high * wide);
    }
    return out;
  },

  linear(op, [x], tensor) {
    const [weight, bias] = [tensor(op.weight), tensor(op.bias)];
    const [outputs, n] = weight.shape;
    const out = new Float32Array(size(op.shape));
    for (let row = 0; row < x.data.length / n; row++) {
      for (let o = 0; o < outputs; o++) {
        let sum = bias ? bias.data[o] : 0;
        for (let i = 0; i < n; i++) sum += weight.data[o * n + i] * x.data[row * n + i];
        out[row * outputs + o] = sum;
      }
    }
    return out;
  },

  /** Over every axis but the channels; with the statistics of this image alone where it acts as in training. */
  batch_norm(op, [x], tensor) {
    const [weight, bias, mean, variance] = [op.weight, op.bias, op.running_mean, op.running_var].map(tensor);
    const [channels, n] = [x.shape[0], size(x.shape.slice(1))];
    const scale = entry(weight, (i) => Math.floor(i / n), 1);
    const shift = entry(bias, (i) => Math.floor(i / n), 0);
    if (acts(op) || !mean || !variance) return normalised(x.data, n, op.eps, scale, shift);
    const out = new Float32Array(x.data.length);
    for (let c = 0; c < channels; c++) {
      const factor = scale(c * n) / Math.sqrt(variance.data[c] + op.eps);
      for (let i = c * n; i < (c + 1) * n; i++) out[i] = (x.data[i] - mean.data[c]) * factor + shift(i);
    }
    return out;
  },

  group_norm(op, [x], tensor) {
    const n = size(x.shape.slice(1));
    const channel = (i) => Math.floor(i / n);
    const [scale, shift] = [entry(tensor(op.weight), channel, 1), entry(tensor(op.bias), channel, 0)];
    return normalised(x.data, x.data.length / op.groups, op.eps, scale, shift);
  },

  layer_norm(op, [x], tensor) {
    const n = size(op.normalized);
    const within = (i) => i % n;
    return normalised(x.data, n, op.eps, entry(tensor(op.weight), within, 1), entry(tensor(op.bias), within, 0));
  },

  activation(op, [x]) {
    const f = ACTIVATIONS[op.function];
    if (!f) throw new NetworkError(`${op.name}: the function ${op.function} is unknown`);
    return x.data.map((number) => f(number, ...op.arguments));
  },

  prelu(op, [x], tensor) {
    const slopes = tensor(op.weight).data;
    const n = slopes.length === 1 ? x.data.length : size(x.shape.slice(1));
    return x.data.map((number, i) => (number > 0 ? number : number * slopes[Math.floor(i / n)]));
  },

  max_pool(op, inputs) {
    const [rows, columns] = [0, 1].map(
      (axis) => (i, n) => slid(i, n, op.kernel[axis], op.stride[axis], op.padding[axis], op.dilation[axis]),
    );
    return windows(op, inputs, rows, columns, largest);
  },

  avg_pool(op, inputs) {
    const [rows, columns] = [0, 1].map(
      (axis) => (i, n) => slid(i, n, op.kernel[axis], op.stride[axis], op.padding[axis]),
    );
    if (!op.count_include_pad) return windows(op, inputs, rows, columns, mean);
    const sides = planes(inputs[0].shape).slice(1);
    /** How long a window is with the padding, beyond which ceil_mode may reach. */
    const padded = (axis, i) => {
      const start = i * op.stride[axis] - op.padding[axis];
      return Math.min(start + op.kernel[axis], sides[axis] + op.padding[axis]) - start;
    };
    return windows(op, inputs, rows, columns, (plane, y, x, i, j, width) => {
      return total(plane, y, x, width) / (padded(0, i) * padded(1, j));
    });
  },

  adaptive_pool(op, inputs) {
    const [, high, wide] = planes(op.shape);
    const [rows, columns] = [(i, n) => shared(i, n, high), (j, n) => shared(j, n, wide)];
    return windows(op, inputs, rows, columns, op.reduce === "max" ? largest : mean);
  },

  /** The same numbers; at random only where the network drops them whatever the mode. */
  dropout(op, [x]) {
    if (!acts(op)) return x.data;
    const n = op.channels ? size(x.shape.slice(1)) : 1;
    const kept = Array.from({ length: x.data.length / n }, () => (Math.random() < op.p ? 0 : 1 / (1 - op.p)));
    return x.data.map((number, i) => number * kept[Math.floor(i / n)]);
  },

  stochastic_depth(op, [x]) {
    if (!acts(op)) return x.data;
    const factor = Math.random() < op.keep ? 1 / op.keep : 0;
    return x.data.map((number) => number * factor);
  },

  reshape: same,

  mean(op, [x]) {
    let { shape, data } = x;
    for (const axis of op.axes) {
      const [before, along, after] = around(shape, axis - 1);
      const out = new Float32Array(before * after);
      for (let b = 0; b < before; b++) {
        for (let a = 0; a < after; a++) {
          let sum = 0;
          for (let i = 0; i < along; i++) sum += data[(b * along + i) * after + a];
          out[b * after + a] = sum / along;
        }
      }
      data = out;
      shape = shape.map((n, i) => (i === axis - 1 ? 1 : n));
    }
    return data;
  },

  scale: (op, [x]) => x.data.map((number) => number * op.factor + op.shift),

  glu(op, [x]) {
    const [before, along, after] = around(x.shape, op.axis - 1);
    const half = (along / 2) * after;
    const out = new Float32Array(before * half);
    for (let b = 0; b < before; b++) {
      for (let i = 0; i < half; i++) {
        const place = b * along * after + i;
        out[b * half + i] = x.data[place] * sigmoid(x.data[place + half]);
      }
    }
    return out;
  },

  add: (op, inputs, tensor) => pairwise(op, inputs, tensor, (a, b) => a + op.alpha * b),

  mul: (op, inputs, tensor) => pairwise(op, inputs, tensor, (a, b) => a * b),

  cat(op, inputs) {
    const out = new Float32Array(size(op.shape));
    const [before, along, after] = around(op.shape, op.axis - 1);
    let start = 0;
    for (const x of inputs) {
      const n = x.shape[op.axis - 1] * after;
      for (let b = 0; b < before; b++) out.set(x.data.subarray(b * n, (b + 1) * n), b * along * after + start);
      start += n;
    }
    return out;
  },

  pad(op, [x]) {
    const [count, height, width] = x.shape.length > 1 ? planes(x.shape) : [1, 1, x.shape[0]];
    const [top, bottom, left, right] = op.padding;
    const [high, wide] = [height + top + bottom, width + left + right];
    const out = new Float32Array(count * high * wide).fill(op.value);
    for (let c = 0; c < count; c++) {
      for (let i = Math.max(0, top); i < Math.min(high, height + top); i++) {
        for (let j = Math.max(0, left); j < Math.min(wide, width + left); j++) {
          out[(c * high + i) * wide + j] = x.data[(c * height + i - top) * width + j - left];
        }
      }
    }
    return out;
  },

  /** PyTorch's sampling rules; positions in float32, as it has them. */
  interpolate(op, [x]) {
    const [count, height, width] = planes(x.shape);
    const [, high, wide] = planes(op.shape);
    const [rows, columns] = [sampled(op, 0, height, high), sampled(op, 1, width, wide)];
    const out = new Float32Array(size(op.shape));
    let at = 0;
    for (let c = 0; c < count; c++) {
      for (const [y, down] of rows) {
        const [above, below] = [y, Math.min(y + 1, height - 1)].map((row) => (c * height + row) * width);
        for (const [left, across] of columns) {
          const right = Math.min(left + 1, width - 1);
          const upper = x.data[above + left] * (1 - across) + x.data[above + right] * across;
          const lower = x.data[below + left] * (1 - across) + x.data[below + right] * across;
          out[at++] = upper * (1 - down) + lower * down;
        }
      }
    }
    return out;
  },

  softmax(op, [x]) {
    const [before, along, after] = around(x.shape, op.axis - 1);
    const out = new Float32Array(x.data.length);
    for (let b = 0; b < before; b++) {
      for (let a = 0; a < after; a++) {
        const place = (i) => (b * along + i) * after + a;
        let most = -Infinity;
        for (let i = 0; i < along; i++) most = Math.max(most, x.data[place(i)]);
        let sum = 0;
        for (let i = 0; i < along; i++) sum += Math.exp(x.data[place(i)] - most);
        for (let i = 0; i < along; i++) {
          const log = x.data[place(i)] - most - Math.log(sum);
          out[place(i)] = op.log ? log : Math.exp(log);
        }
      }
    }
    return out;
  },

  transpose(op, [x]) {
    const strides = stridesOf(x.shape);
    return gathered(x.data, op.shape, op.order.map((axis) => strides[axis - 1]));
  },

  slice(op, [x]) {
    const strides = stridesOf(x.shape);
    const steps = strides.map((step, axis) => (axis === op.axis - 1 ? step * op.step : step));
    return gathered(x.data, op.shape, steps, op.start * strides[op.axis - 1]);
  },

  select(op, [x]) {
    const strides = stridesOf(x.shape);
    const others = strides.filter((_, axis) => axis !== op.axis - 1);
    return gathered(x.data, op.shape, others, op.index * strides[op.axis - 1]);
  },

  stack(op, inputs) {
    const thin = op.shape.map((n, axis) => (axis === op.axis - 1 ? 1 : n));
    return KINDS.cat(op, inputs.map(({ data }) => ({ shape: thin, data })));
  },

  expand: (op, [x]) => expanded(x, op.shape),
};

/** For each unit of a resized axis: the unit before it in the map, and how far it lies towards the next one, 0..1. */
function sampled(op, axis, n, units) {
  const given = op.scale ? 1 / op.scale[axis] : n / units;
  return Array.from({ length: units }, (_, i) => {
    if (op.mode === "nearest") {
      const factor = units === n ? 1 : units === 2 * n ? 0.5 : given; // PyTorch leaves a given factor out there
      return [Math.min(Math.floor(Math.fround(i * Math.fround(factor))), n - 1), 0];
    }
    const corners = units > 1 ? (i * (n - 1)) / (units - 1) : 0;
    const position = op.align_corners ? corners : Math.max(0, (i + 0.5) * given - 0.5);
    const first = Math.min(Math.floor(position), n - 1);
    return [first, Math.min(position - first, 1)];
  });
}
