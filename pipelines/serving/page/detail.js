// One video: the player at the moment, why it was found, and what is like it.

import * as api from "./api.js";
import { h, redraw, say } from "./dom.js";
import { gridCell, lift, partsBar, scaleOf, shareBar } from "./drawing.js";
import { learn, named, nameOf } from "./names.js";
import { picture } from "./results.js";
import { badges, fixed, isShort, parts, percent, span, sure, time } from "./words.js";

const POLL = 700; // milliseconds between two looks at a preview
let asNumbers = false; // whether figures are shown as tables
let current = null; // what is shown: { hit, found, stop, asked, video, times, poised }

export function close(place) {
  leave();
  current = null;
  place.hidden = true;
  place.replaceChildren();
}

export async function open(place, hit, question, acts, { play = false } = {}) {
  leave();
  const stop = new AbortController();
  const mine = { hit, stop, asked: null, found: null, video: null, times: hit.times };
  current = mine;
  const player = h("div", { class: "player" });
  const why = h("div", { class: "why" }, h("p", { class: "quiet" }, "Reading why …"));
  const near = h("div", { class: "near" });
  place.hidden = false;
  place.classList.remove("without-file");
  place.replaceChildren(headOf(hit, acts), player, why, near);
  showPlayer(player, mine, play);
  await Promise.all([
    explain(why, mine, question),
    api.neighbours(hit.id, stop.signal).then((found) => showNear(near, found.neighbours, acts)).catch(failed(near)),
  ]);
}

// The same video by another question, head or weight: all but the player is told anew.
export function renew(place, hit, question, acts) {
  const mine = current, before = mine.hit;
  mine.hit = hit;
  redraw(place, () => place.querySelector(".detail-head").replaceWith(headOf(hit, acts)));
  if (mine.poised && (before.start !== hit.start || before.end !== hit.end || before.peak !== hit.peak)) {
    showPlayer(place.querySelector(".player"), mine, false);
  }
  return explain(place.querySelector(".why"), mine, question);
}

// What is known at once while the sound is weighed: the score and its parts.
export function reweigh(place, hit, acts) {
  const mine = current;
  mine.hit = hit;
  redraw(place, () => place.querySelector(".detail-head").replaceWith(headOf(hit, acts)));
  const old = place.querySelector(".why-parts");
  if (!old || !mine.found) return;
  const sizes = Object.entries(hit.parts).map(([name, value]) => [name, Math.abs(value)]);
  const whole = sizes.reduce((sum, [, size]) => sum + size, 0);
  const share = whole ? sizes.filter(([name]) => name === "audio").reduce((sum, [, size]) => sum + size, 0) / whole : 0;
  old.replaceWith(partsOf({ parts: hit.parts, sound_share: share, hit }));
}

function leave() {
  current?.stop.abort();
  current?.asked?.abort();
}

const failed = (target) => (error) => {
  if (error.name !== "AbortError") target.replaceChildren(h("p", { class: "trouble" }, error.message));
};

function explain(place, mine, question) {
  mine.asked?.abort();
  mine.asked = new AbortController();
  place.setAttribute("aria-busy", "true"); // what stands there is of another question
  const { signal } = mine.asked;
  return api.explain(mine.hit.id, question, signal).then((found) => redraw(place, () => showWhy(place, found, mine))).catch(failed(place))
    .finally(() => { if (!signal.aborted) place.removeAttribute("aria-busy"); });
}

function headOf(hit, acts) {
  const copy = h("button", { class: "quiet-button", type: "button", "data-key": "copy", onclick: async () => {
    try {
      await navigator.clipboard.writeText(acts.link(hit));
      copy.textContent = "Link copied";
    } catch {
      prompt("Copy this link", acts.link(hit));
    }
    setTimeout(() => { copy.textContent = "Copy link"; }, 1500);
  } }, "Copy link");
  return h("div", { class: "detail-head" },
    h("button", { class: "quiet-button back", type: "button", "data-key": "back", onclick: acts.close, "aria-label": "Back to the results" }, "✕"),
    h("h2", { title: hit.path }, h("bdi", {}, hit.name)),
    h("div", { class: "line small" },
      h("span", { class: "quiet path" }, h("bdi", {}, hit.path)),
      hit.rank > 0 && h("span", { class: "badge" }, `number ${hit.rank}${acts.byHead()}, ${sure(hit)}`),
      badges(hit).map((one) => h("span", { class: `badge ${one.kind}`, title: one.title }, one.text)),
      h("span", { class: "acts" }, copy,
        h("a", { class: "quiet-button", id: "save-clip", href: api.clip(hit), "data-save": "clip", "data-key": "clip", download: "" }, "Save clip"),
        h("a", { class: "quiet-button", href: `/api/videos/${hit.id}/media`, "data-save": "file", "data-key": "file", download: hit.name }, "Save file"))));
}

async function showPlayer(place, mine, play) {
  const { hit, stop } = mine;
  try {
    let found = await api.preview(hit.id, stop.signal);
    if (found.state === "absent") found = await api.prepare(hit.id);
    while (found.state === "preparing") {
      showPreparing(place, hit, found.seconds);
      await new Promise((done) => setTimeout(done, POLL));
      found = await api.preview(hit.id, stop.signal);
    }
    if (stop.signal.aborted) return;
    if (found.address === null) {
      place.replaceChildren(poster(hit), trouble(hit, found));
    } else {
      const note = "A smaller copy is played, since browsers do not play this kind of file.";
      place.replaceChildren(player(mine, found, play), ...(found.state === "ready" ? [h("p", { class: "quiet small" }, note)] : []));
    }
  } catch (error) {
    if (error.name === "AbortError" || stop.signal.aborted) return;
    place.closest(".detail").classList.toggle("without-file", error.status === 410);
    place.replaceChildren(h("div", { class: `trouble${error.status === 410 ? " gone" : ""}`, role: "alert" }, error.message));
  }
}

const poster = (hit) => h("div", { class: "poster" }, picture(hit, hit.peak, 640));

function trouble(hit, found) {
  const words = found.state === "off"
    ? "Browsers do not play this kind of file, and this server makes no previews (it was started read-only)."
    : `There is no preview: ${found.reason}.`;
  return h("div", { class: "trouble", role: "alert" }, words);
}

function showPreparing(place, hit, seconds) {
  const whole = Math.max(hit.duration, 0.1);
  const old = place.querySelector("progress");
  if (old) {
    old.value = Math.min(seconds, whole);
    return;
  }
  say("Preparing a preview.");
  place.replaceChildren(poster(hit), h("div", { class: "preparing" },
    h("strong", {}, "Preparing a preview"), " Browsers do not play this kind of file; a copy is being made, once.",
    h("progress", { max: whole, value: Math.min(seconds, whole), "aria-label": "Preview made" })));
}

function player(mine, found, play) {
  const { hit } = mine;
  const video = h("video", {
    controls: true, preload: "auto", playsinline: true, tabindex: 0, poster: api.thumb(hit.id, hit.peak, 640), "aria-label": `${hit.name}, from ${span(hit)}`,
    src: `${found.address}#t=${hit.start.toFixed(3)},${hit.end.toFixed(3)}`,
  });
  video.muted = mine.video?.muted ?? true;
  video.addEventListener("loadeddata", () => {
    if (video.videoWidth === 0) video.after(h("p", { class: "trouble", role: "alert" }, "This browser shows no picture of this file."));
  });
  video.addEventListener("error", () => {
    video.replaceWith(h("div", { class: "trouble", role: "alert" }, "This browser cannot play the file. Save it, and open it in a player."));
  });
  video.addEventListener("timeupdate", () => follow(mine));
  video.addEventListener("seeked", () => follow(mine));
  mine.video = video;
  mine.poised = !play; // what matched is shown until it plays, and then from where it begins
  video.addEventListener("loadeddata", () => { if (mine.poised) video.currentTime = mine.hit.peak; }, { once: true });
  video.addEventListener("play", () => {
    if (mine.poised && Math.abs(video.currentTime - mine.hit.peak) < 0.1) video.currentTime = mine.hit.start;
    mine.poised = false;
  }, { once: true });
  if (play) video.addEventListener("canplay", () => video.play().catch(() => {}), { once: true });
  return video;
}

export function seek(second) {
  const video = current?.video;
  if (!video) return;
  current.poised = false;
  video.currentTime = second;
}

export function toggle() {
  const video = current?.video;
  if (!video) return;
  if (video.paused) video.play().catch(() => {}); else video.pause();
}

export function mute() {
  const video = current?.video;
  if (!video) return;
  video.muted = !video.muted;
  say(video.muted ? "The player is muted." : "The player has its sound.");
}

// To the next sampled frame after what is shown, or the one before it.
export function step(direction) {
  const video = current?.video;
  if (!video) return;
  video.pause();
  const { times } = current;
  const now = video.currentTime;
  const next = direction > 0 ? times.find((one) => one > now + 0.02) : times.findLast((one) => one < now - 0.02);
  if (next !== undefined) seek(next);
}

function nearest(times, second) {
  let best = 0;
  times.forEach((one, at) => { if (Math.abs(one - second) <= Math.abs(times[best] - second)) best = at; });
  return best;
}

// The column of the grid that is playing.
function follow(mine) {
  const now = nearest(mine.times, mine.video.currentTime);
  document.querySelectorAll(".grid [data-frame]").forEach((cell) => cell.classList.toggle("now", Number(cell.dataset.frame) === now));
}

function showWhy(place, found, mine) {
  mine.times = found.times;
  mine.found = found;
  const figures = h("div", { class: "figures" });
  const button = h("button", { class: "quiet-button", type: "button", "data-key": "numbers", onclick: () => {
    asNumbers = !asNumbers;
    show();
  } });
  const show = () => {
    button.setAttribute("aria-pressed", String(asNumbers));
    button.textContent = asNumbers ? "Show as pictures" : "Show as table";
    figures.replaceChildren(...(asNumbers ? tables(found) : pictures(found)));
  };
  show();
  place.replaceChildren(h("div", { class: "list-head" }, h("h3", {}, "Why this one"), button), figures);
}

function partsOf(found) {
  const scale = scaleOf([{ parts: found.parts }]);
  return h("div", { class: "why-parts" },
    partsBar(found.parts, scale),
    h("p", { class: "small" }, parts(found.parts).map(({ label, value }) => h("span", { class: "pair" }, h("b", {}, label), ` ${fixed(value)}`)),
      h("span", { class: "pair" }, h("b", {}, "score"), ` ${fixed(found.hit.score)}`)),
    h("p", { class: "small audio-share" }, h("span", {}, "Share of the sound "), shareBar(found.sound_share), ` ${percent(found.sound_share)}`),
    "audio" in found.parts && found.hit.sound !== "ok"
      ? h("p", { class: "quiet small stand-in" }, "This clip has no sound to hear: its part is what the head puts in the place of a missing one.")
      : null);
}

function pictures(found) {
  return [
    partsOf(found),
    grid(found),
    h("p", { class: "quiet small" }, found.of_head
      ? "Each row is a word, each column a frame: the taller and darker a cell, the more that frame counts for the word. Click a cell to go there."
      : "This head looks at whole sentences, so the cells show how alike word and frame are to the encoder itself. Click a cell to go there."),
  ];
}

function grid(found) {
  const { hit, times, words } = found;
  const fine = isShort(hit), best = Math.max(1e-9, ...found.word_shares);
  const sentence = lift(hit.strip);
  const cell = (label, share, frame, row) => h("td", {}, h("button", {
    type: "button", class: "cell", tabindex: row === 0 && frame === 0 ? 0 : -1, "data-frame": frame, "data-row": row, "data-key": `${row}-${frame}`,
    "aria-label": `${label} at ${time(times[frame], fine)}: ${percent(share.value)}`, title: `${label} · ${time(times[frame], fine)} · ${percent(share.value)}`,
    onclick: () => seek(times[frame]),
  }, gridCell(share.height)));
  const rows = words.map((word, row) => {
    const heights = lift(found.grid[row]);
    return h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, word)),
      found.grid[row].map((value, frame) => cell(word, { value, height: heights[frame] }, frame, row + 1)),
      h("td", { class: "word-share" }, shareBar(found.word_shares[row] / best), h("span", {}, percent(found.word_shares[row]))));
  });
  const total = hit.strip.reduce((a, b) => a + b, 0) || 1;
  const table = h("table", { class: "grid", "aria-label": "Words and frames; each cell goes to its frame" },
    h("thead", {}, h("tr", {}, h("td", {}),
      times.map((second, frame) => h("th", { scope: "col", "data-frame": frame },
        frameShot(hit, second), h("span", { class: "stamp" }, time(second, fine)))),
      h("th", { scope: "col", class: "word-share" }, "weighs"))),
    h("tbody", {},
      h("tr", { class: "sentence" }, h("th", { scope: "row" }, "sentence"),
        sentence.map((height, frame) => cell("sentence", { value: hit.strip[frame] / total, height }, frame, 0)),
        h("td", {})),
      rows));
  table.style.setProperty("--frames", times.length);
  table.addEventListener("keydown", walk);
  return h("div", { class: "scroll" }, table);
}

function frameShot(hit, second) {
  const image = picture(hit, second, 96);
  image.width = 48;
  image.height = 27;
  return image;
}

// Arrow keys inside the grid, which is one tab stop.
function walk(event) {
  const from = event.target.closest("button.cell");
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  if (!from || !steps[event.key]) return;
  const [down, right] = steps[event.key];
  const row = Number(from.dataset.row) + down, frame = Number(from.dataset.frame) + right;
  const next = event.currentTarget.querySelector(`button[data-row="${row}"][data-frame="${frame}"]`);
  event.preventDefault();
  event.stopPropagation();
  if (!next) return;
  from.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function tables(found) {
  const fine = isShort(found.hit);
  const number = (value, digits = 3) => h("td", { class: "number" }, fixed(value, digits));
  return [h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers behind the pictures" },
    h("table", { class: "plain" }, h("caption", {}, "Parts of the score"),
      h("tbody", {}, parts(found.parts).map(({ label, value }) => h("tr", {}, h("th", { scope: "row" }, label), number(value, 4))),
        h("tr", {}, h("th", { scope: "row" }, "score"), number(found.hit.score, 4)),
        h("tr", {}, h("th", { scope: "row" }, "share of the sound"), h("td", { class: "number" }, percent(found.sound_share))))),
    h("table", { class: "plain" }, h("caption", {}, "What each frame counts, for the sentence and for each word"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Frame at"), h("th", { scope: "col", class: "number" }, "sentence"),
        found.words.map((word) => h("th", { scope: "col", class: "number" }, h("bdi", {}, word))))),
      h("tbody", {}, found.times.map((second, frame) => h("tr", {}, h("th", { scope: "row" }, time(second, fine)),
        number(found.hit.strip[frame]), found.grid.map((row) => number(row[frame])))),
      h("tr", {}, h("th", { scope: "row" }, "word weighs"), h("td", {}), found.word_shares.map((share) => h("td", { class: "number" }, percent(share)))))))];
}

function showNear(place, near, acts) {
  if (!near.length) return;
  learn(near);
  place.replaceChildren(h("h3", {}, "Looks much like it"), h("ul", { class: "near-list" }, near.map((one) =>
    h("li", {}, h("button", { type: "button", title: one.path, "aria-label": named(one), onclick: () => acts.visit(one.id) },
      picture(one, one.duration / 2, 320), nameOf(one))))));
}
