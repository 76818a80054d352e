// The list of hits: matches, weaker ones folded away, a page of each at a time.

import * as api from "./api.js";
import { h, redraw, say } from "./dom.js";
import { partsBar, partsKey, scaleOf, strip } from "./drawing.js";
import { named, nameOf } from "./names.js";
import { badges, count, fixed, isShort, parts, span, sure, time, track } from "./words.js";

const PAGE = 25; // of either kind: never more than 50 cards
const FEW = 5; // of the weaker ones, shown where there is no match
const KINDS = { match: "Matches", closest: "Closest ones", weaker: "Weaker matches" };

export const EXAMPLES = [
  "a dog barks while a man opens a door",
  "a red square moves left while a bell rings",
  "someone is cooking and talking",
  "waves on a beach at sunset",
];

// How a list is shown: which pages, whether weaker ones are unfolded, cards or a table.
export const view = { match: 0, closest: 0, weaker: 0, unfolded: false, table: false };

export function resetView() {
  Object.assign(view, { match: 0, weaker: 0, unfolded: false });
}

export function drawList(place, answer, hits, acts) {
  const knows = answer.matches !== null;
  const matches = knows ? hits.filter((hit) => !hit.weaker) : hits;
  const below = knows ? hits.filter((hit) => hit.weaker) : [];
  const closest = matches.length ? [] : below.slice(0, FEW);
  const weaker = below.slice(closest.length);
  const scale = scaleOf([...pageOf(matches, "match"), ...closest, ...(view.unfolded ? pageOf(weaker, "weaker") : [])]);
  const labels = [...new Set(hits.flatMap((hit) => parts(hit.parts).map((part) => part.label)))];
  const hidden = Math.max(answer.searched - hits.length, 0);
  const again = () => redraw(place, () => drawList(place, answer, hits, acts));
  const turned = (kind) => {
    again();
    place.scrollIntoView({ block: "start" });
    focusOn(place, openersOf(place, kind)[0]);
  };
  const listOf = (own, kind) => h("div", { class: "listed", "data-kind": kind },
    view.table ? tableOf(pageOf(own, kind), acts, kind) : cardsOf(pageOf(own, kind), scale, acts, kind),
    pagerOf(own, kind, () => turned(kind)));
  const title = knows ? count(matches.length, "match", "matches") : count(hits.length, "result");
  place.replaceChildren(h("div", {},
    h("div", { class: "list-head" },
      h("h2", {}, title),
      labels.length > 0 && partsKey(labels),
      h("button", { class: "quiet-button", type: "button", "data-key": "table", "aria-pressed": view.table, onclick: () => { view.table = !view.table; again(); } },
        view.table ? "Show as cards" : "Show as table"),
      h("button", { class: "quiet-button", type: "button", onclick: () => acts.save(hits) }, "Save list")),
    matches.length ? listOf(matches, "match") : nothing(answer, closest),
    closest.length > 0 && h("div", { class: "closest" }, listOf(closest, "closest")),
    weaker.length > 0 && h("div", { class: "weaker" },
      h("button", {
        class: "fold", type: "button", "data-key": "fold", "aria-expanded": view.unfolded,
        onclick: () => { view.unfolded = !view.unfolded; again(); },
      }, h("span", { class: "arrow", "aria-hidden": "true" }, view.unfolded ? "▾" : "▸"),
      ` Weaker matches (${(weaker.length + hidden).toLocaleString("en")}${closest.length ? " more" : ""})`),
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
export function mark(place, id, side = 0) {
  const openers = [...place.querySelectorAll(".open")];
  const isChosen = (one) => one.dataset.video === id && Number(one.dataset.side ?? side) === side;
  const stop = openers.find(isChosen) ?? openers[0];
  for (const one of openers) {
    one.tabIndex = one === stop ? 0 : -1;
    one.closest(".card, tr").classList.toggle("selected", one.dataset.video === id);
    if (isChosen(one)) one.setAttribute("aria-current", "true"); else one.removeAttribute("aria-current");
  }
}

const openersOf = (place, kind) => [...place.querySelectorAll(kind ? `.listed[data-kind="${kind}"] .open` : ".open")];

export function focusOn(place, next) {
  if (!next) return place.focus({ preventScroll: true });
  if (next.matches(".open")) for (const one of openersOf(place)) one.tabIndex = one === next ? 0 : -1;
  next.focus({ preventScroll: true });
  (next.closest(".card, tr") ?? next).scrollIntoView({ block: "nearest" });
}

// To the next hit or the one before; past the end of a page the next page comes, and then what is folded.
export function move(place, step) {
  const stops = [...place.querySelectorAll(".open, .fold")];
  const now = stops.indexOf(document.activeElement);
  if (now < 0) return focusOn(place, stops.find((one) => one.matches(".open") && one.tabIndex === 0) ?? stops[0]);
  const next = stops[Math.min(Math.max(now + step, 0), stops.length - 1)];
  const list = stops[now].closest(".listed");
  const leaves = list && (next === stops[now] || !list.contains(next));
  const turn = leaves && list.querySelector(`.pager [data-step="${step}"]:not(:disabled)`);
  if (!turn) return focusOn(place, next);
  turn.click();
  if (step < 0) focusOn(place, openersOf(place, list.dataset.kind).at(-1));
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
    h("button", { type: "button", class: "quiet-button", "data-step": -1, disabled: view[kind] === 0, onclick: turn(-1) }, "Previous"),
    h("span", {}, `${first} to ${Math.min(first + PAGE - 1, own.length)} of ${own.length}`),
    h("button", { type: "button", class: "quiet-button", "data-step": 1, disabled: view[kind] === pages - 1, onclick: turn(1) }, "Next"));
}

function cardsOf(hits, scale, acts, kind) {
  return h("ol", { class: "cards", start: hits[0]?.rank, "aria-label": KINDS[kind] },
    hits.map((hit) => card(hit, scale, acts)));
}

function card(hit, scale, acts) {
  const fine = isShort(hit);
  const title = h("button", {
    class: "open", type: "button", tabindex: -1, "data-video": hit.id,
    "aria-label": `${hit.rank}. ${named(hit)}, ${span(hit)}, ${sure(hit)}`, title: hit.path, onclick: () => acts.open(hit),
  }, nameOf(hit));
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
          h("a", { class: "small-button", tabindex: -1, href: api.clip(hit), "data-save": "clip", download: "" }, "Clip")))));
}

export function picture(hit, second, width) {
  const image = h("img", { src: api.thumb(hit.id, second, width), alt: "", loading: "lazy", decoding: "async", width: 160, height: 90 });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "no-picture" }, "no picture")), { once: true });
  return image;
}

function tableOf(hits, acts, kind) {
  const labels = [...new Set(hits.flatMap((hit) => parts(hit.parts).map((part) => part.label)))];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${KINDS[kind]} as a table` }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["Rank", "Video", "Moment", "Sure", "Score", ...labels, "Track"].map((name) =>
      h("th", { scope: "col", class: ["Video", "Moment", "Track"].includes(name) ? null : "number" }, name)))),
    h("tbody", {}, hits.map((hit) => h("tr", {},
      h("td", { class: "number" }, hit.rank),
      h("th", { scope: "row" }, h("button", { class: "open link", type: "button", tabindex: -1, "data-video": hit.id, title: hit.path, onclick: () => acts.open(hit) }, nameOf(hit))),
      h("td", { class: "whole" }, span(hit)),
      h("td", { class: "number" }, sure(hit)),
      h("td", { class: "number" }, fixed(hit.score, 4)),
      labels.map((label) => h("td", { class: "number" }, fixed(parts(hit.parts).find((part) => part.label === label)?.value ?? 0, 4))),
      h("td", { class: "whole" }, track(hit)))))));
}

function nothing(answer, closest) {
  const words = answer.searched === 0
    ? "No video passes these filters. Widen them, and search again."
    : "No video stands out as what you mean.";
  return h("div", { class: "nothing" },
    h("p", { class: "lead" }, words),
    closest.length > 0 && h("p", { class: "quiet" }, "These come closest; what is right may well be among them."));
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
    total > 0 && finished === skipped && h("p", {}, "Models are being loaded; the first videos follow."),
    total > 0 && finished === total && h("p", {}, "All are looked at; the models that answer are being loaded."),
    total > 0 ? h("progress", { max: total, value: finished, "aria-label": "Videos looked at" })
      : h("progress", { "aria-label": "Loading" }),
    h("p", { class: "quiet" }, note || "You can search as soon as it is done; this page notices by itself.")));
}
