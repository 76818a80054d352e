// What is taken away: a list as CSV, a clip, a file; what cannot be had is told where it was asked for.

import { fetchClip, isThere } from "./api.js";
import { h } from "./dom.js";

function take(blob, name) {
  const anchor = h("a", { href: URL.createObjectURL(blob), download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
}

// A sheet would run what begins like a formula; with ./ before it a path means the same and does not.
const safe = (path) => (/^[=+\-@\t\r]/.test(path) ? `./${path}` : path);
const quoted = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;

export function saveList(hits) {
  const labels = [...new Set(hits.flatMap((hit) => Object.keys(hit.parts)))];
  const rows = [["rank", "path", "start", "end", "peak", "probability", "score", ...labels, "sound"],
    ...hits.map((hit) => [hit.rank, safe(hit.path), hit.start, hit.end, hit.peak, hit.probability, hit.score, ...labels.map((one) => hit.parts[one]), hit.sound])];
  take(new Blob([rows.map((row) => row.map(quoted).join(",")).join("\r\n")], { type: "text/csv" }), "vidret.csv");
}

function tell(anchor, sentence) {
  const place = anchor.closest(".detail-head, .facts");
  place.querySelector(":scope > .trouble")?.remove();
  if (sentence) place.append(h("p", { class: "trouble", role: "alert" }, sentence));
}

async function save(anchor) {
  if (anchor.getAttribute("aria-busy") === "true") return;
  anchor.setAttribute("aria-busy", "true");
  tell(anchor, "");
  try {
    if (anchor.dataset.save === "clip") {
      const { blob, name } = await fetchClip(anchor.href);
      take(blob, name);
    } else {
      await isThere(anchor.href);
      h("a", { href: anchor.href, download: anchor.download }).click();
    }
  } catch (error) {
    tell(anchor, error.message);
  } finally {
    anchor.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[data-save]");
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  save(anchor);
});
