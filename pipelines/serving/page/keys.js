// What single keys do, unless somebody is typing.

import { find } from "./dom.js";

const OF_PLAYER = /^( |Enter|Arrow.*)$/;
const TYPES = ["text", "search", "date", "password"];

function isTyping(target) {
  return target.isContentEditable || target.tagName === "SELECT" || target.tagName === "TEXTAREA"
    || (target.tagName === "INPUT" && TYPES.includes(target.type));
}

export function listen(acts) {
  const plain = {
    "/": () => { find("query").focus(); find("query").select(); },
    "?": () => find("keys").showModal(),
    j: () => acts.move(1), k: () => acts.move(-1),
    ArrowDown: () => acts.move(1), ArrowUp: () => acts.move(-1),
    o: acts.openFocused, c: acts.compare, g: acts.truth, e: acts.clip, m: acts.mute,
    " ": acts.toggle, ",": () => acts.step(-1), ".": () => acts.step(1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || find("keys").open) return;
    if (event.key === "Escape") {
      event.preventDefault(); // a box for searching would be emptied
      if (isTyping(event.target)) event.target.blur();
      else acts.back();
      return;
    }
    if (isTyping(event.target)) return;
    if (event.target.tagName === "VIDEO" && OF_PLAYER.test(event.key)) return; // its own buttons take them
    const isControl = event.target.closest("button, a, input, summary, video, [role=region]");
    if (event.key === " " && isControl && !isControl.matches(".open, .cell")) return;
    if (event.key.startsWith("Arrow") && event.target.tagName === "INPUT") return;
    const act = plain[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  document.addEventListener("keyup", (event) => { // Space would press the button that has the focus
    if (event.key === " " && event.target.matches?.(".open, .cell")) event.preventDefault();
  });
}
