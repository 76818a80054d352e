// The list of hits: matches, weaker ones folded away, a page of each at a time.

import * as api from "./api.js";
import { h, say } from "./dom.js";
import { partsBar, partsKey, scaleOf, strip } from "./drawing.js";
import { badges, count, isShort, parts, span, sure, time, track } from "./words.js";

const PAGE = 25; // of either kind: never more than 50 cards

export const EXAMPLES = [
  "a dog barks while a man opens a door",
  "a red square moves left while a bell rings",
  "someone is cooking and talking",
  "waves on a beach at sunset",
];

// How a list is shown: which pages, whether weaker ones are unfolded, cards or a table.
export const view = { match: 0, weaker: 0, unfolded: false, table: false };

export function resetView() {
  Object.assign(view, { match: 0, weaker: 0, unfolded: false });
}

export function drawList(place, answer, hits, acts) {
  const knows = answer.matches !== null;
  const matches = knows ? hits.filter((hit) => !hit.weaker) : hits;
  const weaker = knows ? hits.filter((hit) => hit.weaker) : [];
  const scale = scaleOf([...pageOf(matches, "match"), ...(view.unfolded ? pageOf(weaker, "weaker") : [])]);
  const labels = [...new Set(hits.flatMap((hit) => parts(hit.parts).map((part) => part.label)))];
  const hidden = Math.max(answer.searched - hits.length, 0);
  const again = () => drawList(place, answer, hits, acts);
  const listOf = (own, kind) => [
    view.table ? tableOf(pageOf(own, kind), acts) : cardsOf(pageOf(own, kind), scale, acts, kind),
    pagerOf(own, kind, () => { again(); place.scrollIntoView({ block: "start" }); }),
  ];
  const title = knows ? count(matches.length, "match", "matches") : count(hits.length, "result");
  place.replaceChildren(h("div", {},
    h("div", { class: "list-head" },
      h("h2", {}, title),
      labels.length > 0 && partsKey(labels),
      h("button", { class: "quiet-button", type: "button", "aria-pressed": view.table, onclick: () => { view.table = !view.table; again(); } },
        view.table ? "Show as cards" : "Show as table"),
      h("button", { class: "quiet-button", type: "button", onclick: () => acts.save(hits) }, "Save list")),
    matches.length ? listOf(matches, "match") : nothing(answer, weaker),
    weaker.length > 0 && h("div", { class: "weaker" },
      h("button", {
        class: "fold", type: "button", id: "weaker", "aria-expanded": view.unfolded,
        onclick: () => { view.unfolded = !view.unfolded; again(); document.getElementById("weaker").focus(); },
      }, h("span", { class: "arrow", "aria-hidden": "true" }, view.unfolded ? "▾" : "▸"),
      ` Weaker matches (${(weaker.length + hidden).toLocaleString("en")})`),
      view.unfolded && listOf(weaker, "weaker"),
      view.unfolded && hidden > 0 && h("p", { class: "quiet" }, `The best ${hits.length} are listed; ${hidden.toLocaleString("en")} more lie below them.`)),
  ));
  mark(place, acts.selected());
}

export function summary(answer, hits) {
  if (!hits.length) return "Nothing was found.";
  if (answer.matches === null) return `${count(hits.length, "result")}.`;
  const strong = hits.filter((hit) => !hit.weaker).length;
  const weak = Math.max(answer.searched - strong, 0);
  return `${count(strong, "match", "matches")}, ${weak.toLocaleString("en")} weaker.`;
}

// One tab stop for the whole list: the selected card, or else the first.
export function mark(place, id) {
  const openers = [...place.querySelectorAll(".open")];
  const chosen = openers.find((one) => one.dataset.video === id) ?? openers[0];
  for (const one of openers) {
    one.tabIndex = one === chosen ? 0 : -1;
    const holder = one.closest(".card, tr");
    holder.classList.toggle("selected", one.dataset.video === id);
    if (one.dataset.video === id) one.setAttribute("aria-current", "true"); else one.removeAttribute("aria-current");
  }
}

export function move(place, step) {
  const openers = [...place.querySelectorAll(".open")];
  if (!openers.length) return;
  const now = openers.findIndex((one) => one === document.activeElement);
  const from = now >= 0 ? now : openers.findIndex((one) => one.tabIndex === 0) - (step > 0 ? 1 : 0);
  const next = openers[Math.min(Math.max(from + step, 0), openers.length - 1)];
  for (const one of openers) one.tabIndex = one === next ? 0 : -1;
  next.focus();
  next.closest(".card, tr").scrollIntoView({ block: "nearest" });
}

function pageOf(own, kind) {
  const last = Math.max(Math.ceil(own.length / PAGE) - 1, 0);
  view[kind] = Math.min(view[kind], last);
  return own.slice(view[kind] * PAGE, (view[kind] + 1) * PAGE);
}

function pagerOf(own, kind, again) {
  const pages = Math.ceil(own.length / PAGE);
  if (pages < 2) return null;
  const turn = (step) => () => {
    view[kind] += step;
    again();
    say(`Page ${view[kind] + 1} of ${pages}.`);
  };
  const first = view[kind] * PAGE + 1;
  return h("nav", { class: "pager", "aria-label": kind === "match" ? "Pages of matches" : "Pages of weaker matches" },
    h("button", { type: "button", class: "quiet-button", disabled: view[kind] === 0, onclick: turn(-1) }, "Previous"),
    h("span", {}, `${first} to ${Math.min(first + PAGE - 1, own.length)} of ${own.length}`),
    h("button", { type: "button", class: "quiet-button", disabled: view[kind] === pages - 1, onclick: turn(1) }, "Next"));
}

function cardsOf(hits, scale, acts, kind) {
  return h("ol", { class: "cards", start: hits[0]?.rank, "aria-label": kind === "match" ? "Matches" : "Weaker matches" },
    hits.map((hit) => card(hit, scale, acts)));
}

function card(hit, scale, acts) {
  const fine = isShort(hit);
  const title = h("button", {
    class: "open", type: "button", tabindex: -1, "data-video": hit.id,
    "aria-label": `${hit.rank}. ${hit.name}, ${span(hit)}, ${sure(hit)}`, onclick: () => acts.open(hit),
  }, h("bdi", {}, hit.name));
  return h("li", { class: "card", "data-video": hit.id },
    h("div", { class: "shot" },
      picture(hit, hit.peak, 320),
      h("span", { class: "moment" }, time(hit.peak, fine))),
    h("div", { class: "facts" },
      h("div", { class: "line" }, h("span", { class: "rank" }, hit.rank), title, h("span", { class: "sure" }, sure(hit))),
      partsBar(hit.parts, scale),
      strip(hit),
      h("div", { class: "line small" },
        h("span", { class: "quiet" }, span(hit)),
        badges(hit).map((one) => h("span", { class: `badge ${one.kind}`, title: one.title }, one.text)),
        h("span", { class: "acts" },
          h("button", { type: "button", class: "small-button", tabindex: -1, onclick: () => acts.open(hit, { play: true }) }, "Play"),
          h("a", { class: "small-button", tabindex: -1, href: api.clip(hit), download: "" }, "Clip")))));
}

export function picture(hit, second, width) {
  const image = h("img", { src: api.thumb(hit.id, second, width), alt: "", loading: "lazy", decoding: "async", width: 160, height: 90 });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "no-picture" }, "no picture")), { once: true });
  return image;
}

function tableOf(hits, acts) {
  const labels = [...new Set(hits.flatMap((hit) => parts(hit.parts).map((part) => part.label)))];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Results as a table" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["Rank", "Video", "Moment", "Sure", "Score", ...labels, "Track"].map((name) =>
      h("th", { scope: "col", class: ["Video", "Moment", "Track"].includes(name) ? null : "number" }, name)))),
    h("tbody", {}, hits.map((hit) => h("tr", {},
      h("td", { class: "number" }, hit.rank),
      h("th", { scope: "row" }, h("button", { class: "open link", type: "button", tabindex: -1, "data-video": hit.id, onclick: () => acts.open(hit) }, h("bdi", {}, hit.name))),
      h("td", { class: "whole" }, span(hit)),
      h("td", { class: "number" }, sure(hit)),
      h("td", { class: "number" }, hit.score.toFixed(4)),
      labels.map((label) => h("td", { class: "number" }, (parts(hit.parts).find((part) => part.label === label)?.value ?? 0).toFixed(4))),
      h("td", { class: "whole" }, track(hit)))))));
}

function nothing(answer, weaker) {
  const words = answer.searched === 0
    ? "No video passes these filters. Widen them, and search again."
    : "Nothing here is likely to be what you mean.";
  return h("div", { class: "nothing" },
    h("p", { class: "lead" }, words),
    weaker.length > 0 && h("p", { class: "quiet" }, "The closest ones are kept below, as weaker matches."));
}

export function drawWelcome(place, status, history, search) {
  const chip = (text) => h("li", {}, h("button", { type: "button", class: "chip", onclick: () => search(text) }, h("bdi", {}, text)));
  const examples = status?.examples?.length ? status.examples : EXAMPLES;
  place.replaceChildren(h("div", { class: "welcome" },
    h("h2", {}, "What do you look for?"),
    h("p", { class: "quiet" }, "Describe a moment in your own words: what is seen, what happens, how it sounds."),
    h("h3", {}, "For example"), h("ul", { class: "chips" }, examples.map(chip)),
    history.length > 0 && [h("h3", {}, "Asked before"), h("ul", { class: "chips" }, history.slice(0, 8).map(chip))]));
}

export function drawWaiting(place) {
  place.replaceChildren(h("ol", { class: "cards waiting", "aria-hidden": "true" }, Array.from({ length: 4 }, () =>
    h("li", { class: "card" }, h("div", { class: "shot" }), h("div", { class: "facts" }, h("i", {}), h("i", {}), h("i", {}))))));
}

export function drawBuilding(place, status) {
  const { done, failed, skipped, total, note } = status.progress;
  const finished = done + failed + skipped;
  place.replaceChildren(h("div", { class: "welcome building" },
    h("h2", {}, "The index is being made"),
    h("p", {}, total
      ? `${finished.toLocaleString("en")} of ${count(total, "video")} looked at${failed ? `, ${failed} could not be read` : ""}.`
      : "Models and features are being loaded."),
    total > 0 ? h("progress", { max: total, value: finished, "aria-label": "Videos looked at" })
      : h("progress", { "aria-label": "Loading" }),
    h("p", { class: "quiet" }, note || "You can search as soon as it is done; this page notices by itself.")));
}
