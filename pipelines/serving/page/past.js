// What was asked before, kept in this browser alone.

const KEY = "vidret-asked";
const MOST = 50;

export function asked() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function remember(text) {
  try {
    localStorage.setItem(KEY, JSON.stringify([text, ...asked().filter((one) => one !== text)].slice(0, MOST)));
  } catch { /* a private window keeps nothing */ }
}

// Arrow up and down in the query box walk through what was asked.
export function walkBack(box) {
  let at = -1, draft = "";
  box.addEventListener("input", () => { at = -1; });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    const past = asked();
    const next = at + (event.key === "ArrowUp" ? 1 : -1);
    if (next < -1 || next >= past.length) return;
    event.preventDefault();
    if (at === -1) draft = box.value;
    at = next;
    box.value = at === -1 ? draft : past[at];
    box.setSelectionRange(box.value.length, box.value.length);
  });
}
