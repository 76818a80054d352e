// How values are said: times, shares, the parts of a score, what became of the sound.

const PARTS = { sentence: "look", frames: "look", pair: "look", words: "words", audio: "sound" };
const ORDER = ["look", "words", "sound"];

export function time(second, fine = false) {
  const whole = fine ? Math.round(second * 10) / 10 : Math.round(second);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(fine ? 1 : 0).padStart(fine ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const isShort = (hit) => hit.duration < 60;
export const span = (hit) => `${time(hit.start, isShort(hit))} to ${time(hit.end, isShort(hit))}`;

export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 1) return "<1 %";
  return `${Math.round(value)} %`;
}

// A number as it is read: what rounds to nothing has no sign.
export function fixed(value, digits = 3) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text;
}

export const sure = (hit) => (hit.probability === null ? fixed(hit.score, 2) : percent(hit.probability));

// The parts by what they are called here; heads may have several that look.
export function parts(values) {
  const sums = new Map();
  for (const [name, value] of Object.entries(values)) {
    const label = PARTS[name] ?? name;
    sums.set(label, (sums.get(label) ?? 0) + value);
  }
  const place = (part) => ORDER.indexOf(part.label) + 1 || 2.5;
  return [...sums].map(([label, value]) => ({ label, value })).sort((a, b) => place(a) - place(b));
}

const SOUNDS = { "no-stream": "no sound", silent: "silent", failed: "sound unreadable" };

export const track = (hit) => SOUNDS[hit.sound] ?? hit.sound;

export function badges(hit) {
  const found = [];
  if (SOUNDS[hit.sound]) found.push({ text: SOUNDS[hit.sound], kind: "mute" });
  if (hit.rank && hit.rank_without_sound - hit.rank >= 5) {
    const text = SOUNDS[hit.sound] ? "lifted for want of sound" : "sound decided this";
    found.push({ text, kind: "sound", title: `Without sound it would be number ${hit.rank_without_sound}` });
  } else if (hit.rank && hit.rank - hit.rank_without_sound >= 5) {
    const text = SOUNDS[hit.sound] ? "pulled down for want of sound" : "sound pulled this down";
    found.push({ text, kind: "sound", title: `Without sound it would be number ${hit.rank_without_sound}` });
  }
  return found;
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
