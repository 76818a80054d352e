// Two heads on the same query, side by side: what moved, by how much, and how far they agree.

import { h, s } from "./dom.js";
import { picture } from "./results.js";
import { span, sure } from "./words.js";

const SHOWN = 20; // of each head: 40 cards
const TOP = 10; // what agreement is counted over
const seen = new Map(); // overlap by query and pair of heads, for as long as the page is open

export function overlap(left, right, top = TOP) {
  const known = new Set(left.slice(0, top).map((hit) => hit.id));
  const most = Math.min(top, Math.max(left.length, right.length)) || 1;
  return right.slice(0, top).filter((hit) => known.has(hit.id)).length / most;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function drawCompare(place, left, right, acts) {
  const agreed = overlap(left.hits, right.hits);
  const pair = `${left.head}\0${right.head}`;
  seen.set(`${pair}\0${left.query}`, agreed);
  const own = [...seen].filter(([key]) => key.startsWith(`${pair}\0`)).map(([, value]) => value);
  const lines = s("svg", { class: "threads", "aria-hidden": "true", preserveAspectRatio: "none" });
  const columns = [column(left, right, acts, "first"), column(right, left, acts, "second")];
  place.replaceChildren(
    h("div", { class: "list-head" }, h("h2", {}, "Two heads"),
      h("p", { class: "agree" }, h("b", {}, `overlap@${TOP} ${agreed.toFixed(2)}`),
        own.length > 1 && ` · median ${median(own).toFixed(2)} over ${own.length} queries`)),
    h("div", { class: "compared" }, columns[0], lines, columns[1]));
  thread(lines, left, right);
}

function column(one, other, acts, side) {
  const ranks = new Map(other.hits.map((hit, at) => [hit.id, at + 1]));
  return h("div", { class: `column ${side}` }, h("h3", {}, one.head),
    h("ol", { class: "rows", "aria-label": `Best by ${one.head}` }, one.hits.slice(0, SHOWN).map((hit, at) =>
      h("li", { class: "row card", "data-video": hit.id },
        h("span", { class: "rank" }, at + 1),
        picture(hit, hit.peak, 96),
        h("div", { class: "facts" },
          h("button", { class: "open", type: "button", tabindex: -1, "data-video": hit.id, onclick: () => acts.open(hit) }, h("bdi", {}, hit.name)),
          h("span", { class: "quiet small" }, `${span(hit)} · ${sure(hit)}`)),
        change(at + 1, ranks.get(hit.id), other)))));
}

function change(here, there, other) {
  if (there === undefined) {
    return h("span", { class: "change gone", title: `Not among the best ${other.hits.length} of ${other.head}` }, `over ${other.hits.length}`);
  }
  const moved = there - here;
  const words = moved === 0 ? "same" : `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`;
  const title = `Number ${there} by ${other.head}`;
  return h("span", { class: `change ${moved > 0 ? "up" : moved < 0 ? "down" : "same"}`, title },
    words, h("span", { class: "hidden" }, `. ${title}`));
}

// A line from each video on the left to the same one on the right.
function thread(lines, left, right) {
  const places = new Map(right.hits.slice(0, SHOWN).map((hit, at) => [hit.id, at]));
  const rows = Math.max(Math.min(left.hits.length, SHOWN), Math.min(right.hits.length, SHOWN), 1);
  lines.setAttribute("viewBox", `0 0 100 ${rows * 10}`);
  lines.classList.add(`rows-${rows}`);
  left.hits.slice(0, SHOWN).forEach((hit, at) => {
    const to = places.get(hit.id);
    if (to === undefined) return;
    const [from, end] = [at * 10 + 5, to * 10 + 5];
    const line = s("path", { d: `M0 ${from}C50 ${from} 50 ${end} 100 ${end}`, class: from === end ? "thread level" : "thread" });
    line.dataset.video = hit.id;
    lines.append(line);
  });
  lines.style.height = `calc(${rows} * var(--row))`;
}
