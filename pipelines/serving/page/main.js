// The page: one state, what changes it, and what is drawn of it.

import * as api from "./api.js";
import * as detail from "./detail.js";
import { drawCompare, tellTruth } from "./compare.js";
import { find, h, say, seldom } from "./dom.js";
import { listen } from "./keys.js";
import { asked, remember, walkBack } from "./past.js";
import {
  drawBuilding, drawList, drawWaiting, drawWelcome, mark, move, resetView, summary,
} from "./results.js";
import { count } from "./words.js";

const TOP = 500;
const BUILDING_POLL = 700, CALM_POLL = 15_000;

const state = { status: null, answer: null, hits: [], other: null, truth: null, selected: null, stop: null, weight: 1 };
const results = find("results"), pane = find("detail"), box = find("query"), slider = find("sound");

const acts = {
  open, save, link, visit,
  close: closeDetail,
  ask: (text) => { box.value = text; search(); },
  examples: () => state.status?.examples ?? [],
  selected: () => state.selected,
};

// -- asking

function question(head = find("head").value) {
  return {
    q: box.value.trim(), head, top: TOP, audio_weight: slider.value,
    where: find("where").value.trim(), since: find("since").value, only_with_sound: find("only-sound").checked,
  };
}

async function search({ keep = false } = {}) {
  if (!box.value.trim()) return showWelcome();
  if (state.status?.state === "building") return;
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
    state.weight = answer.audio_weight;
    banner("");
    remember(answer.query);
    writeAddress();
    draw();
    say([summary(answer, answer.hits), truth && tellTruth(truth)].filter(Boolean).join(" "));
    showRead(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    const above = error.status === 409; // the banner says why
    results.replaceChildren(h("div", { class: "nothing" }, h("p", { class: "lead" }, above ? "Nothing can be searched now." : error.message)));
    say(error.message);
    if (error.status === 409 || error.status === 0 || error.status === 503) watch();
  } finally {
    if (state.stop === stop) results.removeAttribute("aria-busy");
  }
}

// -- drawing

function draw() {
  document.body.classList.toggle("comparing", Boolean(state.other));
  if (state.other) drawCompare(results, state.answer, state.other, state.truth, acts);
  else drawList(results, state.answer, state.hits, acts);
  mark(results, state.selected);
}

function showWelcome() {
  state.answer = state.other = state.truth = null;
  state.hits = [];
  document.body.classList.remove("comparing");
  closeDetail({ quiet: true });
  if (state.status?.state === "building") drawBuilding(results, state.status);
  else drawWelcome(results, state.status, asked(), acts.ask);
  find("read").textContent = "";
  writeAddress();
}

function showRead(answer) {
  const read = find("read");
  const seconds = answer.seconds < 0.095 ? `${Math.round(1000 * answer.seconds)} ms` : `${answer.seconds.toFixed(2)} s`;
  read.replaceChildren(h("span", {},
    `${count(answer.searched, "video")}, ${seconds}${answer.exhaustive ? "" : ", by the index"}. `,
    h("span", { class: "tokens" }, "Read as: ", answer.tokens.map((token) => h("span", { class: "token" }, h("bdi", {}, token)))),
    answer.truncated && h("strong", { class: "cut" }, " Cut after 77 tokens: the rest was not read.")));
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
}

const settle = seldom(() => { if (state.answer) search({ keep: true }); }, 250);

// -- one video

function open(hit, options = {}) {
  state.selected = hit.id;
  mark(results, hit.id);
  document.body.classList.add("detailed");
  detail.open(pane, hit, asking(), acts, options);
  writeAddress();
  if (matchMedia("(max-width: 64rem)").matches) { pane.scrollIntoView({ block: "start" }); pane.focus({ preventScroll: true }); }
}

// A video that may not be in the list, such as a neighbour.
async function visit(id) {
  const listed = state.hits.find((one) => one.id === id);
  if (listed) return open(listed);
  try {
    const found = await api.explain(id, asking());
    open(found.hit);
  } catch (error) {
    say(error.message);
    banner(error.message);
  }
}

const asking = () => ({
  q: state.answer?.query ?? box.value.trim(), head: state.answer?.head ?? find("head").value, audio_weight: slider.value,
});

function closeDetail({ quiet = false } = {}) {
  const was = state.selected;
  state.selected = null;
  document.body.classList.remove("detailed");
  detail.close(pane);
  mark(results, null);
  if (quiet) return;
  writeAddress();
  const back = was && results.querySelector(`.open[data-video="${CSS.escape(was)}"]`);
  if (back) back.focus();
}

function save(hits) {
  const labels = [...new Set(hits.flatMap((hit) => Object.keys(hit.parts)))];
  const quoted = (value) => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a sheet would run it
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const rows = [["rank", "path", "start", "end", "peak", "probability", "score", ...labels, "sound"],
    ...hits.map((hit) => [hit.rank, hit.path, hit.start, hit.end, hit.peak, hit.probability, hit.score, ...labels.map((one) => hit.parts[one]), hit.sound])];
  const blob = new Blob([rows.map((row) => row.map(quoted).join(",")).join("\r\n")], { type: "text/csv" });
  const anchor = h("a", { href: URL.createObjectURL(blob), download: "vidret.csv" });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
}

// -- the address holds what is asked behind its #, which never leaves the browser

function address(video) {
  const wanted = question();
  const kept = new URLSearchParams();
  if (wanted.q && state.answer) kept.set("q", wanted.q);
  if (find("head").selectedIndex > 0) kept.set("head", wanted.head);
  if (Number(wanted.audio_weight) !== 1) kept.set("sound", wanted.audio_weight);
  for (const [name, value] of [["where", wanted.where], ["since", wanted.since]]) if (value) kept.set(name, value);
  if (wanted.only_with_sound) kept.set("heard", "1");
  if (find("compare").checked) kept.set("compare", find("other-head").value);
  if (showsTruth()) kept.set("truth", "1");
  if (video) kept.set("video", video);
  return kept.size ? `#${kept}` : location.pathname;
}

function writeAddress() {
  history.replaceState(null, "", address(state.selected));
}

function link(hit) {
  return new URL(address(hit.id), location.href).href;
}

async function readAddress() {
  const kept = new URLSearchParams(location.hash.slice(1));
  box.value = kept.get("q") ?? "";
  find("where").value = kept.get("where") ?? "";
  find("since").value = kept.get("since") ?? "";
  find("only-sound").checked = kept.has("heard");
  slider.value = kept.get("sound") ?? "1";
  showWeight();
  const heads = state.status?.heads ?? [];
  if (heads.includes(kept.get("head"))) find("head").value = kept.get("head");
  if (heads.includes(kept.get("compare"))) {
    find("compare").checked = true;
    find("other-head").value = kept.get("compare");
    find("truth").checked = kept.has("truth");
    showChoices();
  }
  if (!box.value) return showWelcome();
  const video = kept.get("video");
  await search();
  if (video) await visit(video);
}

function showWeight() {
  find("sound-value").textContent = Number(slider.value).toFixed(2);
}

// -- how the server stands

let watching = 0;

async function watch() {
  clearTimeout(watching);
  let pause = CALM_POLL;
  try {
    const before = state.status?.state;
    state.status = await api.status();
    showStatus(state.status);
    if (state.status.state === "building") {
      pause = BUILDING_POLL;
      drawBuilding(results, state.status);
    } else if (before === "building" || before === undefined) {
      await readAddress();
    }
  } catch (error) {
    banner(error.message, "bad");
    pause = 2_000;
  }
  clearTimeout(watching);
  watching = setTimeout(watch, pause);
}

function showStatus(status) {
  if (status.state === "refused") {
    banner(`Nothing is searched, since what is on the disk does not fit together: ${status.reason}`, "bad");
  } else if (find("banner").classList.contains("bad")) banner("");
  document.body.classList.toggle("not-yet", status.state === "building");
  if (status.heads.length) fillHeads(status.heads);
  const line = [
    status.state === "ready" && `${count(status.videos, "video")}, ${status.with_sound.toLocaleString("en")} with sound`,
    status.failed > 0 && `${status.failed} could not be read`,
    differences(status.differs),
  ].filter(Boolean);
  find("status").textContent = line.join(" · ");
  for (const control of [box, find("search").querySelector(".go")]) control.disabled = status.state === "building";
}

function differences(differs) {
  if (!differs || !(differs.gone + differs.changed + differs.new)) return "";
  const told = [["gone", differs.gone], ["changed", differs.changed], ["new", differs.new]].filter(([, number]) => number);
  return `on the disk since: ${told.map(([word, number]) => `${number} ${word}`).join(", ")} (vidret index update takes them up)`;
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

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search().then(() => results.querySelector(".open")?.focus({ preventScroll: true }));
});
slider.addEventListener("input", () => { showWeight(); reweigh(Number(slider.value)); });
slider.addEventListener("change", settle);
slider.addEventListener("dblclick", () => { slider.value = 1; showWeight(); settle(); });
for (const id of ["where", "since", "only-sound", "head", "other-head", "truth"]) {
  find(id).addEventListener("change", () => { if (state.answer) search({ keep: true }); });
}
find("compare").addEventListener("change", () => {
  showChoices();
  if (state.answer) search({ keep: true });
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
  openFocused: () => document.activeElement.closest(".open")?.click(),
  compare: compareTwo,
  truth: toggleTruth,
  clip: () => {
    const chosen = document.activeElement.closest?.(".card")?.querySelector("a[download]") ?? find("save-clip");
    chosen?.click();
  },
  toggle: detail.toggle,
  step: detail.step,
  back: () => { if (state.selected) closeDetail(); else box.focus(); },
});
addEventListener("hashchange", readAddress);
document.addEventListener("visibilitychange", () => { if (!document.hidden) watch(); });
watch();

