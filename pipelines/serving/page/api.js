// The server's answers; what it cannot answer is a Problem with its status and its sentence.

export class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) query.append(name, value);
  }
  return (await answer(query.size ? `${path}?${query}` : path, options)).json();
}

async function answer(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer. Is vidret serve still running?");
  }
  if (response.ok) return response;
  let sentence = `The server answered ${response.status}.`;
  try {
    sentence = sentenceOf((await response.json()).error) || sentence;
  } catch { /* no JSON: the status says it */ }
  throw new Problem(response.status, sentence);
}

function sentenceOf(words) {
  if (!words) return "";
  const text = words[0].toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

const at = (video, what) => `/api/videos/${encodeURIComponent(video)}/${what}`;

export const status = () => ask("/api/status");
export const search = (question, signal) => ask("/api/search", question, { signal });
export const truth = ({ top, ...question }, signal) => ask("/api/truth", question, { signal });
export const explain = (video, question, signal) => ask(at(video, "explain"), question, { signal });
export const neighbours = (video, signal) => ask(at(video, "neighbours"), { top: 6 }, { signal });
export const preview = (video, signal) => ask(at(video, "preview"), {}, { signal });
export const prepare = (video) => ask(at(video, "preview"), {}, { method: "POST" });

export function thumb(video, second, width = 320) {
  return `${at(video, "thumb")}?t=${second.toFixed(3)}&width=${width}`;
}

export async function fetchClip(address) {
  const response = await answer(address, {});
  const told = /filename\*=utf-8''([^;]+)/.exec(response.headers.get("content-disposition") ?? "");
  return { blob: await response.blob(), name: told ? decodeURIComponent(told[1]) : "clip.mp4" };
}

// The file's own address may send gigabytes: whether it is there is asked of its preview, in words.
export const isThere = (address) => ask(address.replace(/media$/, "preview"));

export function clip(hit, pad = 2) {
  const end = Math.min(hit.end, hit.start + 116);
  return `${at(hit.id, "clip")}?start=${hit.start.toFixed(3)}&end=${end.toFixed(3)}&pad=${pad}`;
}
