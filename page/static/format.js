/** Formats of numbers, durations, times and values. */

const NUMBER = new Intl.NumberFormat("en");
const VALUE = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

const UNITS = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];

/** Format a whole number: 12,345. */
export const count = (number) => NUMBER.format(number);

/** Format a number with its noun: "1 event", "2 events". */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Format seconds in the two largest units: "4 d 21 h", "2 min 5 s", "8 s". */
export function duration(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, size]) => left >= size);
  if (first < 0) return "0 s";
  const parts = [];
  for (const [unit, size] of UNITS.slice(first, first + 2)) {
    const number = Math.floor(left / size);
    left -= number * size;
    if (number) parts.push(`${number} ${unit}`);
  }
  return parts.join(" ");
}

/** Format the time since an event. */
export const ago = (seconds) => (seconds < 0.5 ? "just now" : `${duration(seconds)} ago`);

/** Format a response time: "6 ms", "1.24 s". */
export function latency(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

/** Format the time of day of an RFC 3339 time, in the local time zone. */
export const timeOfDay = (text) => TIME.format(new Date(text));

/** Format its date. */
export const day = (text) => DAY.format(new Date(text));

/** Format the full time in UTC, for tooltips. */
export const utc = (text) => `${text.replace("T", " ").replace(/\.?\d*Z$/, "")} UTC`;

/** Format a reading's value; states in lower case: "21.5 °C", "not present". */
export function valueText({ value, text, unit }) {
  if (value == null) return text ? text.toLowerCase().replaceAll("_", " ") : "";
  return `${VALUE.format(value)}${unit ? `\u00a0${unit}` : ""}`;
}

/** Format JSON over several lines; return other text unchanged. */
export function pretty(text) {
  try {
    return JSON.stringify(typeof text === "string" ? JSON.parse(text) : text, null, 2);
  } catch {
    return text;
  }
}
