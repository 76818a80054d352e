// Bars and strips as SVG; height or pattern always says what the colour says.

import { h, s } from "./dom.js";
import { fixed, isShort, parts, time } from "./words.js";

const CELLS = 12;
const FILLS = { look: "look", words: "words", sound: "sound" };

// The largest sums above and below zero, so that all bars of a list share one scale.
export function scaleOf(hits) {
  let above = 1e-9, below = 0;
  for (const hit of hits) {
    const values = Object.values(hit.parts);
    above = Math.max(above, values.filter((v) => v > 0).reduce((a, b) => a + b, 0));
    below = Math.max(below, -values.filter((v) => v < 0).reduce((a, b) => a + b, 0));
  }
  return { above, below };
}

export const fillOf = (label) => `part-${FILLS[label] ?? "other"}`;

// Lengths are shares of the width, so that patterns look the same however wide the bar is.
export function partsBar(values, scale) {
  const unit = 100 / (scale.above + scale.below);
  const zero = scale.below * unit;
  let right = zero, left = zero;
  const named = parts(values);
  const bars = named.map(({ label, value }) => {
    const length = Math.abs(value) * unit;
    const x = value >= 0 ? right : left - length;
    if (value >= 0) right += length; else left -= length;
    const bar = s("rect", {
      class: `part ${fillOf(label)}${value < 0 ? " negative" : ""}`, x: `${x}%`, y: 1, width: `${Math.max(length, 0.01)}%`, height: "84%",
    });
    bar.dataset.part = label;
    bar.dataset.value = value;
    return bar;
  });
  const axis = scale.below > 0 && s("line", { class: "zero", x1: `${zero}%`, x2: `${zero}%`, y1: 0, y2: "100%" });
  const words = named.map(({ label, value }) => `${label} ${fixed(value)}`).join(", ");
  return s("svg", {
    class: "parts-bar", role: "img", "aria-label": `Parts of the score: ${words}`,
  }, bars, axis);
}

export function partsKey(labels) {
  return h("ul", { class: "parts-key", "aria-label": "What the bars are made of" }, labels.map((label) =>
    h("li", {}, s("svg", { viewBox: "0 0 14 10", "aria-hidden": "true" }, s("rect", { class: `part ${fillOf(label)}`, width: 14, height: 10 })), label)));
}

// Weights from 0 to 1 by their own lightest and heaviest, so that a shape shows.
export function lift(weights) {
  const low = Math.min(...weights), high = Math.max(...weights);
  return weights.map((weight) => (high > low ? (weight - low) / (high - low) : 0.5));
}

function cellsOf(hit) {
  const size = Math.max(1, Math.ceil(hit.strip.length / CELLS));
  const cells = [];
  for (let first = 0; first < hit.strip.length; first += size) {
    const own = hit.strip.slice(first, first + size);
    const best = own.indexOf(Math.max(...own));
    cells.push({ weight: own[best], time: hit.times[first + best] });
  }
  return cells;
}

export function strip(hit) {
  const cells = cellsOf(hit);
  const heights = lift(cells.map((cell) => cell.weight));
  const wide = 120 / Math.max(cells.length, 1), fine = isShort(hit);
  const bars = cells.map((cell, at) => {
    const tall = 3 + 19 * heights[at];
    const inside = cell.time >= hit.start - 1e-6 && cell.time <= hit.end + 1e-6;
    return s("rect", { class: inside ? "cell inside" : "cell", x: at * wide + 0.6, y: 24 - tall, width: wide - 1.2, height: tall });
  });
  return s("svg", {
    class: "strip", viewBox: "0 0 120 24", preserveAspectRatio: "none", role: "img",
    "aria-label": `Where it fits: most at ${time(hit.peak, fine)}, from ${time(hit.start, fine)} to ${time(hit.end, fine)} of ${time(hit.duration, fine)}`,
  }, bars);
}

// One cell of the grid: a bar whose height and shade both follow the weight.
export function gridCell(share) {
  const tall = Math.max(1, 22 * share);
  const shade = Math.min(4, Math.floor(share * 5));
  return s("svg", { viewBox: "0 0 20 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: `shade-${shade}`, x: 1, y: 23 - tall, width: 18, height: tall }));
}

export function shareBar(share) {
  return s("svg", { class: "share-bar", viewBox: "0 0 60 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "share-ground", width: 60, height: 10 }),
    s("rect", { class: "share", width: Math.max(0.5, 60 * Math.min(share, 1)), height: 10 }));
}
