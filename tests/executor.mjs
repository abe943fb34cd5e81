// Runs each case of the JSON file given ([{ graph, weights, image }]) and writes what every operation gives to another:
// [{ values: { name: [numbers] } } or { error: "NetworkError: ..." }].
import { readFileSync, writeFileSync } from "node:fs";
import { Network } from "../lab/widgets/static/network.js";

const [, , cases, answers] = process.argv;
const answered = JSON.parse(readFileSync(cases, "utf-8")).map(({ graph, weights, image }) => {
  try {
    const values = new Network(graph, weights).run(image);
    return { values: Object.fromEntries([...values].map(([name, { data }]) => [name, [...data].map(String)])) };
  } catch (error) {
    return { error: `${error.constructor.name}: ${error.message}` };
  }
});
writeFileSync(answers, JSON.stringify(answered));
