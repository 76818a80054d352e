// The page: one state, what changes it, and what is drawn of it.

import * as api from "./api.js";
import * as detail from "./detail.js";
import { drawCompare, tellTruth } from "./compare.js";
import { find, h, redraw, say, seldom } from "./dom.js";
import { listen } from "./keys.js";
import { learn } from "./names.js";
import { asked, remember, walkBack } from "./past.js";
import {
  drawBuilding, drawList, drawWaiting, drawWelcome, focusOn, mark, move, resetView, summary,
} from "./results.js";
import { saveList } from "./saving.js";
import { count } from "./words.js";

const TOP = 500;
const NONE_LEFT = "None of these videos is on the disk any more. Is a drive missing?";
const BUILDING_POLL = 700, CALM_POLL = 15_000;

// `text` is what was asked last, whatever is being typed; `side` the column that the selected hit was opened in.
const state = {
  status: null, text: "", answer: null, hits: [], other: null, truth: null,
  selected: null, side: 0, isGuest: false, stop: null,
};
const results = find("results"), pane = find("detail"), box = find("query"), slider = find("sound");

const acts = {
  open, link, visit,
  save: saveList,
  close: () => closeDetail(),
  ask: (text) => { box.value = text; ask(); },
  byHead: () => (state.other ? ` by ${asking().head}` : ""),
  examples: () => state.status?.examples ?? [],
  selected: () => state.selected,
};

// -- asking

function question(head = find("head").value) {
  return {
    q: state.text, head, top: TOP, audio_weight: slider.value,
    where: find("where").value.trim(), since: find("since").value, only_with_sound: find("only-sound").checked,
  };
}

const isReady = () => Boolean(state.status) && state.status.state !== "building";

// What stands in the box; a question of its own has an entry of its own in the browser's history.
async function ask() {
  state.text = box.value.trim();
  if (!isReady()) return; // `watch` asks it as soon as there is somebody to answer
  const isNew = state.text !== (state.answer?.query ?? "");
  if (!state.text) return showWelcome({ isNew });
  if (await search({ isNew })) focusOn(results, results.querySelector(".open"));
}

const askAgain = () => { if (state.text) search({ keep: true }); };

async function search({ keep = false, isNew = false } = {}) {
  if (!isReady()) return false;
  state.stop?.abort();
  const stop = new AbortController();
  state.stop = stop;
  if (!keep) {
    resetView();
    closeDetail({ quiet: true });
    drawWaiting(results);
    say("Searching.");
  }
  results.setAttribute("aria-busy", "true");
  try {
    const asked = find("compare").checked ? [question(), question(find("other-head").value)] : [question()];
    const [[answer, second = null], truth] = await Promise.all([
      Promise.all(asked.map((one) => api.search(one, stop.signal))),
      showsTruth() ? Promise.all(asked.map((one) => api.truth(one, stop.signal))) : null,
    ]);
    state.answer = answer;
    state.other = second;
    state.truth = truth;
    state.hits = answer.hits;
    banner("");
    showStanding(state.status);
    remember(answer.query);
    draw();
    const left = await follow();
    if (stop.signal.aborted) return false;
    writeAddress({ isNew });
    say([left, summary(answer, answer.hits), truth && tellTruth(truth)].filter(Boolean).join(" "));
    showRead(answer);
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    state.answer = state.other = state.truth = null;
    state.hits = [];
    closeDetail({ quiet: true });
    showRead(null);
    const above = error.status === 409; // the banner says why
    results.replaceChildren(h("div", { class: "nothing" }, h("p", { class: "lead" }, above ? "Nothing can be searched now." : error.message)));
    say(error.message);
    if (error.status === 409 || error.status === 0 || error.status === 503) watch();
    return false;
  } finally {
    if (state.stop === stop) results.removeAttribute("aria-busy");
  }
}

// -- drawing

function draw() {
  document.body.classList.toggle("comparing", Boolean(state.other));
  learn([...state.hits, ...(state.other?.hits ?? []), ...(state.truth ?? []).flatMap((one) => one.hits)]);
  redraw(results, () => {
    if (state.other) drawCompare(results, state.answer, state.other, state.truth, acts);
    else drawList(results, state.answer, state.hits, acts);
    mark(results, state.selected, state.side);
  });
}

function showWelcome({ isNew = false } = {}) {
  state.stop?.abort();
  state.text = "";
  state.answer = state.other = state.truth = null;
  state.hits = [];
  document.body.classList.remove("comparing");
  closeDetail({ quiet: true });
  if (state.status?.state === "building") drawBuilding(results, state.status);
  else drawWelcome(results, state.status, asked(), acts.ask);
  showRead(null);
  writeAddress({ isNew });
}

function showRead(answer) {
  const read = find("read");
  find("cut").textContent = answer?.truncated ? "Cut after 77 tokens: the model reads no more, so the rest counts nothing." : "";
  if (!answer) return read.replaceChildren();
  const seconds = answer.seconds < 0.095 ? `${Math.round(1000 * answer.seconds)} ms` : `${answer.seconds.toFixed(2)} s`;
  read.replaceChildren(h("span", {},
    `${count(answer.searched, "video")}, ${seconds}${answer.exhaustive ? "" : ", by the index"}. `,
    h("span", { class: "tokens" }, "Read as: ", answer.tokens.map((token) => h("span", { class: "token" }, h("bdi", {}, token))))));
}

function banner(sentence, kind = "") {
  const place = find("banner");
  place.hidden = !sentence;
  place.className = `banner ${kind}`;
  if (place.textContent !== sentence) place.textContent = sentence;
}

// -- the sound slider: at once from what is known, then exactly from the server

function reweigh(weight) {
  if (!state.answer || state.other) return;
  const from = state.answer.hits;
  const again = from.map((hit) => {
    const audio = weight * hit.sound_alone;
    const own = "audio" in hit.parts ? { ...hit.parts, audio } : hit.parts;
    return { ...hit, parts: own, score: Object.values(own).reduce((a, b) => a + b, 0) };
  });
  again.sort((a, b) => b.score - a.score || a.rank - b.rank);
  state.hits = again.map((hit, at) => ({ ...hit, rank: at + 1 }));
  draw();
  const shown = listed(state.selected);
  if (shown) detail.reweigh(pane, shown, acts);
}

const settle = seldom(askAgain, 250);

// -- one video

function open(hit, { side = 0, ...options } = {}) {
  state.selected = hit.id;
  state.side = side;
  state.isGuest = !listed(hit.id, side);
  mark(results, hit.id, side);
  document.body.classList.add("detailed");
  detail.open(pane, hit, asking(), acts, options);
  writeAddress();
  if (matchMedia("(max-width: 64rem)").matches) { pane.scrollIntoView({ block: "start" }); pane.focus({ preventScroll: true }); }
}

// A video that may not be in the list, such as a neighbour.
async function visit(id, side = state.side) {
  const known = listed(id, side);
  if (known) return open(known, { side });
  try {
    const found = await api.explain(id, asking(side));
    open(found.hit, { side });
  } catch (error) {
    say(error.message);
    banner(error.message);
  }
}

// The hit of a video as it stands in a column now; none where it is not listed there.
function listed(id, side = state.side) {
  const hits = side && state.other ? state.other.hits : state.hits;
  return [...hits, ...(state.truth?.[side]?.hits ?? [])].find((one) => one.id === id);
}

function asking(side = state.side) {
  const answer = (side && state.other) || state.answer;
  return { q: answer?.query ?? state.text, head: answer?.head ?? find("head").value, audio_weight: slider.value };
}

// What is open belongs to what is listed: it is told anew, or closed where it is not found any more.
async function follow() {
  if (!state.selected) return "";
  if (!state.other) state.side = 0;
  let hit = listed(state.selected);
  if (!hit && state.isGuest) {
    hit = await api.explain(state.selected, asking(), state.stop.signal).then((found) => found.hit, () => null);
  }
  if (hit) detail.renew(pane, hit, asking(), acts);
  else closeDetail({ quiet: true });
  return hit ? "" : "What was open is not among these.";
}

function closeDetail({ quiet = false } = {}) {
  const [was, held] = [state.selected, pane.contains(document.activeElement)];
  state.selected = null;
  document.body.classList.remove("detailed");
  detail.close(pane);
  const back = was && results.querySelector(`.open[data-video="${CSS.escape(was)}"][data-side="${state.side}"], .open[data-video="${CSS.escape(was)}"]:not([data-side])`);
  mark(results, null);
  if (!quiet) writeAddress();
  if (held || (!quiet && back)) focusOn(results, back ?? results.querySelector(".open"));
}

// -- the address holds what is asked behind its #, which never leaves the browser

function address(video) {
  const wanted = question();
  const kept = new URLSearchParams();
  if (wanted.q) kept.set("q", wanted.q);
  if (find("head").selectedIndex > 0) kept.set("head", wanted.head);
  if (Number(wanted.audio_weight) !== 1) kept.set("sound", wanted.audio_weight);
  for (const [name, value] of [["where", wanted.where], ["since", wanted.since]]) if (value) kept.set(name, value);
  if (wanted.only_with_sound) kept.set("heard", "1");
  if (find("compare").checked) kept.set("compare", find("other-head").value);
  if (showsTruth()) kept.set("truth", "1");
  if (video) kept.set("video", video);
  if (video && state.other && state.side) kept.set("by", "other");
  return kept.size ? `#${kept}` : location.pathname;
}

function writeAddress({ isNew = false } = {}) {
  const next = new URL(address(state.selected), location.href).href;
  if (next !== location.href) history[isNew ? "pushState" : "replaceState"](null, "", next);
  read = location.hash;
}

function link(hit) {
  return new URL(address(hit.id), location.href).href;
}

let read = null; // what the address held when it was last read or written

async function readAddress() {
  const kept = readSettings();
  box.value = state.text = (kept.get("q") ?? "").trim();
  if (!state.text) return showWelcome();
  const video = kept.get("video");
  if (await search() && video) await visit(video, kept.has("by") && state.other ? 1 : 0);
}

// The first time: what was typed while nothing could be answered counts more than the address.
function begin() {
  if (!hasTyped) return readAddress();
  readSettings();
  return state.text ? ask() : showWelcome();
}

function readSettings() {
  read = location.hash;
  const kept = new URLSearchParams(location.hash.slice(1));
  find("where").value = kept.get("where") ?? "";
  find("since").value = kept.get("since") ?? "";
  find("only-sound").checked = kept.has("heard");
  slider.value = kept.get("sound") ?? "1";
  showWeight();
  const heads = state.status?.heads ?? [];
  if (heads.length) find("head").value = heads.includes(kept.get("head")) ? kept.get("head") : heads[0];
  find("compare").checked = heads.includes(kept.get("compare"));
  if (find("compare").checked) find("other-head").value = kept.get("compare");
  find("truth").checked = find("compare").checked && kept.has("truth");
  showChoices();
  return kept;
}

// Back, forward, or a link that was put into this tab: either event may tell of it, or both.
function readChanges() {
  if (isReady() && location.hash !== read) readAddress();
}

function showWeight() {
  find("sound-value").textContent = Number(slider.value).toFixed(2);
}

// -- how the server stands

let watching = 0, hasTyped = box.value !== "";

async function watch() {
  clearTimeout(watching);
  let pause = CALM_POLL;
  try {
    const status = await api.status();
    const wasReady = isReady(), cameBack = isReady() && noneLeft(state.status) && !noneLeft(status);
    state.status = status;
    showStatus(status);
    if (!isReady()) {
      pause = BUILDING_POLL;
      drawBuilding(results, status);
    } else if (!wasReady) await begin();
    else if (cameBack && state.text) await readAddress(); // with its pictures
  } catch (error) {
    banner(error.message, "bad");
    pause = 2_000;
  }
  clearTimeout(watching);
  watching = setTimeout(watch, pause);
}

const noneLeft = ({ videos, differs }) => videos > 0 && differs?.gone === videos && differs.new === 0;

// What hinders everything stands above everything.
function showStanding(status) {
  if (status.state === "refused") banner(`Nothing is searched, since what is on the disk does not fit together: ${status.reason}`, "bad");
  else if (noneLeft(status)) banner(`${NONE_LEFT} What is listed is what was indexed; nothing of it can be shown or played.`, "bad");
  else if (find("banner").classList.contains("bad")) banner("");
}

function showStatus(status) {
  showStanding(status);
  document.body.classList.toggle("not-yet", status.state === "building");
  if (status.heads.length) fillHeads(status.heads);
  const line = [
    status.state === "ready" && `${count(status.videos, "video")}, ${status.with_sound.toLocaleString("en")} with sound`,
    status.failed > 0 && `${status.failed} could not be read`,
    differences(status),
  ].filter(Boolean);
  find("status").textContent = line.join(" · ");
  for (const control of [box, find("search").querySelector(".go")]) control.disabled = status.state === "building";
}

function differences(status) {
  const { differs } = status;
  if (!differs || !(differs.gone + differs.changed + differs.new)) return "";
  const told = [["gone", differs.gone], ["changed", differs.changed], ["new", differs.new]].filter(([, number]) => number);
  return `on the disk since: ${told.map(([word, number]) => `${number} ${word}`).join(", ")}${noneLeft(status) ? "" : " (vidret index update FOLDER takes them up)"}`;
}

function fillHeads(heads) {
  const [first, second] = [find("head"), find("other-head")];
  if ([...first.options].map((one) => one.value).join("\0") === heads.join("\0")) return;
  for (const choice of [first, second]) choice.replaceChildren(...heads.map((name) => h("option", { value: name }, name)));
  if (heads.length > 1) second.selectedIndex = 1;
  document.body.classList.toggle("one-head", heads.length < 2);
}

function compareTwo() {
  if ((state.status?.heads.length ?? 0) < 2) return;
  find("compare").checked = !find("compare").checked;
  find("compare").dispatchEvent(new Event("change"));
}

const showsTruth = () => find("compare").checked && find("truth").checked;

function showChoices() {
  find("other-head").hidden = find("truth-choice").hidden = !find("compare").checked;
}

function toggleTruth() {
  if (!find("compare").checked) return;
  find("truth").checked = !find("truth").checked;
  find("truth").dispatchEvent(new Event("change"));
}

// -- wiring

box.addEventListener("input", () => { hasTyped = true; });
find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.text && document.activeElement.closest(".settings")) askAgain(); // Enter in a filter is no new question
  else ask();
});
slider.addEventListener("input", () => { showWeight(); reweigh(Number(slider.value)); });
slider.addEventListener("change", settle);
slider.addEventListener("dblclick", () => { slider.value = 1; showWeight(); settle(); });
for (const id of ["where", "since", "only-sound", "head", "other-head", "truth"]) {
  find(id).addEventListener("change", askAgain);
}
find("compare").addEventListener("change", () => {
  showChoices();
  askAgain();
});
find("help").addEventListener("click", () => find("keys").showModal());
find("options").addEventListener("click", () => {
  const open = document.body.classList.toggle("with-options");
  find("options").setAttribute("aria-expanded", String(open));
});
const top = document.querySelector(".top");
new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${top.offsetHeight}px`)).observe(top);
walkBack(box);
listen({
  move: (step) => move(results, step),
  openFocused: () => {
    const held = document.activeElement;
    const first = [document.body, results].includes(held) ? results.querySelector('.open[tabindex="0"]') : null;
    (held.closest(".open, .fold") ?? first)?.click();
  },
  compare: compareTwo,
  truth: toggleTruth,
  clip: () => {
    const chosen = document.activeElement.closest?.(".card")?.querySelector("a[data-save]") ?? find("save-clip");
    chosen?.click();
  },
  toggle: detail.toggle,
  mute: detail.mute,
  step: detail.step,
  back: () => { if (state.selected) closeDetail(); else if (state.other) compareTwo(); },
});
// A question that was sent before this script ran: then the form asks by itself, by an address without #.
const early = new URLSearchParams(location.search).get("q");
if (early !== null) history.replaceState(null, "", early.trim() ? `${location.pathname}#${new URLSearchParams({ q: early.trim() })}` : location.pathname);
addEventListener("popstate", readChanges);
addEventListener("hashchange", readChanges);
document.addEventListener("visibilitychange", () => { if (!document.hidden) watch(); });
watch();

