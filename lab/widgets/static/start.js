// Puts a network's page in the place of its still picture.
import { boxedSketchpad, sketchpad } from "./draw.js";
import { make } from "./elements.js";
import { explorer } from "./explore.js";
import { Network } from "./network.js";

const PAGES = {
  explore: (network, data) => {
    const { node, speaking } = explorer(network, data);
    node.append(speaking);
    return [node];
  },
  draw: (network, data) => [boxedSketchpad(network, data).node],
  /** Draw a digit, and see inside the layers what becomes of it. */
  takeHome: (network, data) => {
    const inside = explorer(network, data);
    const pad = sketchpad(network, data, (image) => image && inside.show(image));
    pad.node.append(inside.speaking);
    return [pad.node, inside.node];
  },
};

/** The numbers 0..255 of a text in base64. */
function bytesOf(text) {
  return Uint8ClampedArray.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * kind: which page. id: the class of its place, which stands before the script where the host lets scripts know where
 * they are. A place that can't be filled keeps its picture, and says why.
 */
export function start(kind, id, { graph, weights, ...data }) {
  const before = document.currentScript?.previousElementSibling;
  const places = before?.classList.contains(id) ? [before] : document.querySelectorAll(`.${id}:not(.lab-alive)`);
  for (const place of places) {
    try {
      const images = data.images.map(bytesOf);
      const nodes = PAGES[kind](new Network(graph, weights), { ...data, images });
      place.classList.add("lab-alive");
      place.append(...nodes);
    } catch (error) {
      place.append(make("p", {}, `The network can't be run in this page: ${error.message}`));
    }
  }
}
