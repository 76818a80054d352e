// Elements made of plain values: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("aria-")) element.setAttribute(name, String(value)); // false is said, too
    else if (value === false) continue;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Draw anew what may hold the focus, and give it to what stands in the same place then.
export function redraw(place, draw) {
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  const { key, side } = held?.dataset ?? {};
  const video = held?.closest("[data-video]")?.dataset.video;
  draw();
  if (!held || (held.isConnected && held !== place)) return;
  const same = (key && `[data-key="${key}"]`) || (video && `.open[data-video="${CSS.escape(video)}"]${side ? `[data-side="${side}"]` : ""}`);
  ((same && place.querySelector(same)) || place.querySelector(".open") || place).focus({ preventScroll: true });
}

export const find = (id) => document.getElementById(id);

export function say(sentence) {
  find("live").textContent = sentence;
}

export const seldom = (work, milliseconds) => {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
};
