// How a drawn digit becomes one like MNIST's: what lab/widgets/drawing.py does, and says where it comes from.
//
// A drawing is a list of strokes, each a list of points [x, y] from 0 to 1 across and down the canvas.

export const SIDE = 28; // pixels of an image
const BOX = 20; // pixels of the box that the ink just fits in
const CENTRE = 14; // the pixel on which its centre of mass comes, along both axes
const FINE = 8; // samples along a pixel's side; the share of them that the pen covers is the pixel's grey level

/** The image that a network sees of a drawing: SIDE x SIDE grey levels, 0 to 255. pen: its thickness, of the canvas's 1. */
export function toMnist(strokes, pen) {
  const image = new Uint8ClampedArray(SIDE * SIDE);
  const points = strokes.flat();
  if (!points.length) return image;
  const ends = (axis) => {
    const along = points.map((point) => point[axis]);
    return [Math.min(...along) - pen / 2, Math.max(...along) + pen / 2];
  };
  const [[left, right], [top, bottom]] = [ends(0), ends(1)];
  const scale = (BOX * FINE) / Math.max(right - left, bottom - top); // samples a canvas
  const [width, height] = [right - left, bottom - top].map((length) => Math.ceil(length * scale - 1e-9));
  const lines = strokes.filter((line) => line.length);
  const moved = lines.map((line) => line.map(([x, y]) => [(x - left) * scale, (y - top) * scale]));
  const ink = inked(moved, (pen * scale) / 2, height, width);
  const [rows, columns] = [new Float64Array(height), new Float64Array(width)];
  ink.forEach((covered, at) => {
    rows[Math.floor(at / width)] += covered;
    columns[at % width] += covered;
  });
  const [down, across] = [begins(rows), begins(columns)];
  const counts = new Float64Array(SIDE * SIDE);
  ink.forEach((covered, at) => {
    const [row, column] = [down + Math.floor(at / width), across + (at % width)];
    counts[Math.floor(row / FINE) * SIDE + Math.floor(column / FINE)] += covered;
  });
  counts.forEach((count, at) => (image[at] = Math.round((255 * count) / FINE ** 2)));
  return image;
}

/** Which samples a round pen covers on its way along the lines: height x width of 0 and 1; lengths in samples. */
function inked(lines, radius, height, width) {
  const ink = new Uint8Array(height * width);
  const reach = Math.floor(radius);
  const stamp = (column, row) => {
    for (let y = Math.max(0, row - reach); y <= Math.min(height - 1, row + reach); y++) {
      const half = Math.floor(Math.sqrt(Math.max(0, radius ** 2 - (y - row) ** 2)));
      ink.fill(1, y * width + Math.max(0, column - half), y * width + Math.min(width, column + half + 1));
    }
  };
  const sample = (value, n) => Math.min(Math.max(Math.trunc(value), 0), n - 1);
  for (const line of lines) {
    const lengths = line.map(([x, y], i) => (i ? Math.hypot(x - line[i - 1][0], y - line[i - 1][1]) : 0));
    const travelled = lengths.map(((sum) => (length) => (sum += length))(0));
    const end = travelled[travelled.length - 1];
    let next = 0; // the first point at or beyond the pen
    for (let step = 0; step < end + 0.5; step += 0.5) {
      while (next < line.length - 1 && travelled[next] < step) next++;
      const before = Math.max(0, next - 1);
      const share = lengths[next] ? Math.min((step - travelled[before]) / lengths[next], 1) : 0;
      const at = (axis) => line[before][axis] + share * (line[next][axis] - line[before][axis]);
      stamp(sample(at(0), width), sample(at(1), height));
    }
  }
  return ink;
}

/** Where the ink begins along one axis, in samples, a whole number of pixels; no ink may leave the image. */
function begins(mass) {
  let [sum, moment] = [0, 0];
  mass.forEach((ink, i) => {
    sum += ink;
    moment += ink * (i + 0.5);
  });
  const room = SIDE - Math.ceil(mass.length / FINE);
  return Math.min(Math.max(Math.round(CENTRE - (moment / sum / FINE - 0.5)), 0), room) * FINE;
}

/** An image moved by whole pixels; what leaves is lost, what comes in is 0. */
export function shifted(image, down, right) {
  const moved = new Uint8ClampedArray(SIDE * SIDE);
  for (let row = Math.max(0, down); row < Math.min(SIDE, SIDE + down); row++) {
    for (let column = Math.max(0, right); column < Math.min(SIDE, SIDE + right); column++) {
      moved[row * SIDE + column] = image[(row - down) * SIDE + column - right];
    }
  }
  return moved;
}

/** The numbers that the network expects: grey levels 0..255, normalised with the mean and deviation of 0..1. */
export function toInput(image, [mean, deviation]) {
  return Float32Array.from(image, (grey) => (grey / 255 - mean) / deviation);
}
