// Does each task of a JSON file with the page's scripts and writes the answers to another; nodejs.py calls it.
import { readFileSync, writeFileSync } from "node:fs";
import { toMnist } from "../lab/widgets/static/digit.js";
import { evidence, explained } from "../lab/widgets/static/explain.js";
import { Network } from "../lab/widgets/static/network.js";

/** What every operation gives: { name: [numbers as text] }, NaN and infinity too. */
function run({ graph, weights, image }) {
  const values = new Network(graph, weights).run(image);
  return Object.fromEntries([...values].map(([name, { data }]) => [name, [...data].map(String)]));
}

/** How the numbers at `places` of the operation `name` come about. */
function explain({ graph, weights, image, name, places }) {
  const network = new Network(graph, weights);
  const values = network.run(image);
  const op = network.operations.find((each) => each.name === name);
  return places.map((at) => explained(network, values, op, at));
}

/** How much of each class's score comes from where. */
function evidenceOf({ graph, weights, image }) {
  const network = new Network(graph, weights);
  const found = evidence(network, network.run(image));
  return found && { ...found, classes: found.classes.map((each) => ({ ...each, map: [...each.map] })) };
}

/** The median time of an image, in milliseconds. */
function time({ graph, weights, image, times }) {
  const network = new Network(graph, weights);
  const taken = Array.from({ length: times }, () => {
    const before = performance.now();
    network.run(image);
    return performance.now() - before;
  });
  return taken.sort((a, b) => a - b)[Math.floor(times / 2)];
}

const TASKS = { run, explain, evidence: evidenceOf, time, mnist: ({ strokes, pen }) => [...toMnist(strokes, pen)] };

const [, , tasks, answers] = process.argv;
const answered = JSON.parse(readFileSync(tasks, "utf-8")).map(({ task, ...given }) => {
  try {
    return { answer: TASKS[task](given) };
  } catch (error) {
    return { error: `${error.constructor.name}: ${error.message}` };
  }
});
writeFileSync(answers, JSON.stringify(answered));
