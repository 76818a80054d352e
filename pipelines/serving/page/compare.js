// Two heads on the same query, side by side: what moved, by how much, and how far they agree.

import { h, s } from "./dom.js";
import { named, nameOf } from "./names.js";
import { picture } from "./results.js";
import { count, span, sure } from "./words.js";

const SHOWN = 20; // of each head: 40 cards
const FAR = 5; // right videos of each head that stand further down
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

export function drawCompare(place, left, right, truth, acts) {
  const agreed = overlap(left.hits, right.hits);
  const pair = `${left.head}\0${right.head}`;
  seen.set(`${pair}\0${left.query}`, agreed);
  const own = [...seen].filter(([key]) => key.startsWith(`${pair}\0`)).map(([, value]) => value);
  const lines = s("svg", { class: "threads", "aria-hidden": "true", preserveAspectRatio: "none" });
  const rows = [left, right].map((one, at) => rowsOf(one, truth?.[at]));
  const columns = [left, right].map((one, at) => column(one, [right, left][at], truth?.[1 - at], rows[at], acts, at));
  place.replaceChildren(
    h("div", { class: "list-head" }, h("h2", {}, "Two heads"),
      h("p", { class: "agree" }, h("b", {}, `overlap@${TOP} ${agreed.toFixed(2)}`),
        own.length > 1 && ` · median ${median(own).toFixed(2)} over ${own.length} queries`)),
    ...(truth ? [h("div", { class: "truth" }, h("p", {}, tellTruth(truth)), captions(truth, acts))] : []),
    h("div", { class: "compared" }, columns[0], lines, columns[1]));
  thread(lines, ...rows);
}

// The best of a head and, where they are not among them, the videos that are known to be right.
function rowsOf(one, truth) {
  const right = new Set(truth?.hits.map((hit) => hit.id));
  const best = one.hits.slice(0, SHOWN).map((hit, at) => ({ hit, rank: at + 1, right: right.has(hit.id), far: false }));
  const shown = new Set(best.map(({ hit }) => hit.id));
  const far = (truth?.hits ?? []).filter((hit) => !shown.has(hit.id)).slice(0, FAR);
  return [...best, ...far.map((hit) => ({ hit, rank: hit.rank, right: true, far: true }))];
}

function column(one, other, truth, rows, acts, side) {
  const known = [...(truth?.hits ?? []).map((hit) => [hit.id, hit.rank]), ...other.hits.map((hit, at) => [hit.id, at + 1])];
  const ranks = new Map(known);
  return h("div", { class: `column ${["first", "second"][side]}` }, h("h3", {}, one.head),
    h("ol", { class: "rows", "aria-label": `Best by ${one.head}` }, rows.map(({ hit, rank, right, far }) =>
      h("li", { class: `row card${right ? " right" : ""}${far ? " far" : ""}`, value: rank, "data-video": hit.id },
        h("span", { class: "rank" }, rank.toLocaleString("en")),
        picture(hit, hit.peak, 96),
        h("div", { class: "facts" },
          h("button", {
            class: "open", type: "button", tabindex: -1, "data-video": hit.id, "data-side": side, title: hit.path,
            "aria-label": `${rank}. ${named(hit)}, ${span(hit)}, ${sure(hit)}`, onclick: () => acts.open(hit, { side }),
          }, nameOf(hit)),
          h("span", { class: "quiet small" }, h("b", { class: "sure" }, sure(hit)), h("span", { class: "when" }, span(hit)))),
        h("div", { class: "marks" }, change(rank, ranks.get(hit.id), other),
          right && h("span", { class: "badge known" }, h("span", { "aria-hidden": "true" }, "✓"), h("span", { class: "word" }, " right")))))));
}

// What is known to be right, in a sentence or a few.
export function tellTruth([left, right]) {
  if (left.videos === 0) {
    return "No ground truth: this sentence is no caption of what is searched, so no video is known to be the right one.";
  }
  const there = new Map(right.hits.map((hit) => [hit.id, hit.rank]));
  const told = left.hits.slice(0, FAR).map((hit) => {
    const other = there.has(hit.id) ? `, number ${there.get(hit.id).toLocaleString("en")} by ${right.head}` : "";
    return `${named(hit)} is number ${hit.rank.toLocaleString("en")} by ${left.head}${other}.`;
  });
  const more = left.videos - left.left_out - told.length;
  return [
    `${left.videos === 1 ? "One video has" : `${left.videos.toLocaleString("en")} videos have`} this caption${told.length ? ":" : "."}`,
    ...told,
    more > 0 && `${count(more, "other stands", "others stand")} further down.`,
    left.left_out > 0 && `The filters leave ${leftOut(left)} out.`,
    told.length > 0 && `Ranks are among ${count(left.searched, "video")}, every one scored.`,
  ].filter(Boolean).join(" ");
}

function leftOut({ left_out: number, videos }) {
  if (number < videos) return `${number.toLocaleString("en")} of them`;
  return videos === 1 ? "it" : "them all";
}

// Captions to choose from, where what was asked is none.
function captions([left], acts) {
  const known = acts.examples();
  if (left.videos > 0 || !known.length) return null;
  return [h("p", { class: "quiet small", id: "captions" }, "Captions to try:"),
    h("ul", { class: "chips", "aria-labelledby": "captions" }, known.map((text) =>
      h("li", {}, h("button", { type: "button", class: "chip", onclick: () => acts.ask(text) }, h("bdi", {}, text)))))];
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
  const places = new Map(right.map(({ hit }, at) => [hit.id, at]));
  const rows = Math.max(left.length, right.length, 1);
  lines.setAttribute("viewBox", `0 0 100 ${rows * 10}`);
  left.forEach(({ hit, right: known }, at) => {
    const to = places.get(hit.id);
    if (to === undefined) return;
    const [from, end] = [at * 10 + 5, to * 10 + 5];
    const line = s("path", { d: `M0 ${from}C50 ${from} 50 ${end} 100 ${end}`, class: `thread${from === end ? " level" : ""}${known ? " known" : ""}` });
    line.dataset.video = hit.id;
    lines.append(line);
  });
  lines.style.height = `calc(${rows} * var(--row))`;
}
