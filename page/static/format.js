// Words and figures for people.

const numbers = new Intl.NumberFormat("en");
const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

/** Write a whole number. */
export const count = (number) => numbers.format(number);

/** Write "1 event", "2 events". */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Write a duration in seconds with at most two units: 4 d 21 h. */
export function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? Math.max(0, seconds).toFixed(seconds < 1 ? 1 : 0) : Math.round(seconds)} s`;
  for (const [index, [unit, size]] of UNITS.entries()) {
    if (seconds < size) continue;
    const whole = Math.floor(seconds / size);
    const [next, nextSize] = UNITS[index + 1] ?? ["s", 1];
    const rest = Math.floor((seconds - whole * size) / nextSize);
    return rest && whole < 10 ? `${whole} ${unit} ${rest} ${next}` : `${whole} ${unit}`;
  }
  return "";
}

/** Write a latency in seconds. */
export const latency = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);

/** Write the time of day in this place; `title` has the whole of it in UTC. */
export function clockTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.valueOf()) ? "" : time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Write date and time in this place. */
export function dateTime(text) {
  const time = new Date(text);
  return Number.isNaN(time.valueOf())
    ? ""
    : time.toLocaleString([], { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Write how long ago a time is, on the clock whose time is `now`. */
export function ago(text, now) {
  const seconds = (new Date(now) - new Date(text)) / 1000;
  return Number.isNaN(seconds) ? "never" : seconds < 1 ? "now" : `${duration(seconds)} ago`;
}

/** Write one reading: 21.5 °C, OPEN. */
export function reading({ value, text, unit }) {
  if (value === null || value === undefined) return (text ?? "").replaceAll("_", " ").toLowerCase();
  const digits = Number.isInteger(value) ? 0 : Math.abs(value) < 100 ? 1 : 0;
  return `${value.toFixed(digits)}${unit && unit !== "1" ? ` ${unit}` : ""}`;
}

// What a person looks at a sensor for; signal and battery come after it.
const ABOUT_ITSELF = new Set(["networkStatus", "batteryStatus", "connectionStatus", "ethernetStatus", "cellularStatus"]);

/** Write what a sensor measured, and apart from it what it says about itself. */
export function readings(values) {
  const measured = values.filter(({ type }) => !ABOUT_ITSELF.has(type) && type !== "touch");
  const signal = values.find(({ type, quantity }) => type === "networkStatus" && quantity === "signalStrength");
  const battery = values.find(({ type }) => type === "batteryStatus");
  const gateway = values.find(({ type }) => type === "connectionStatus");
  const about = [];
  if (signal) about.push(`signal ${reading(signal)}`);
  if (battery) about.push(`battery ${reading(battery)}`);
  const main = measured.length ? measured : gateway ? [gateway] : [];
  return { main: main.map(reading).join(", ") || (values.some(({ type }) => type === "touch") ? "touched" : "–"), about: about.join(", ") };
}

/** Say what a connector does, and what comes next. */
export function connectorState(connector) {
  const { status, failures, lastAttempt, nextAttemptIn, disabledIn, ledger } = connector;
  if (status === "USER_DISABLED") {
    return { mood: "off", word: "Disabled", text: `Nothing is queued; ${plural(ledger.dropped, "event")} dropped so far. Events of this time are not made up for.` };
  }
  if (status === "SYSTEM_DISABLED") {
    return { mood: "bad", word: "Disabled by DT Cloud", text: `Five days of failures without a success. ${plural(ledger.dropped, "event")} dropped so far. Enable it to go on.` };
  }
  if (!failures) {
    const since = lastAttempt ? `The last attempt succeeded ${duration(lastAttempt.ago)} ago.` : "Nothing was sent since the start.";
    return { mood: "good", word: "Active", text: since };
  }
  const last = lastAttempt ? `, the last (${lastAttempt.status ?? lastAttempt.note}) ${duration(lastAttempt.ago)} ago` : "";
  const next = nextAttemptIn === null ? "Nothing waits." : `Next in ${duration(nextAttemptIn)}.`;
  const end = disabledIn === null ? "" : ` Disabled by DT Cloud in ${duration(disabledIn)} if nothing succeeds.`;
  return { mood: "bad", word: "Active, failing", text: `${plural(failures, "attempt")} failed${last}. ${next}${end}` };
}

/** Name an outcome, with a sign that needs no colour. */
export function outcome({ state, status }) {
  if (state === "delivered") return { mood: "good", sign: "✓", word: "delivered" };
  if (state === "expired" || state === "dropped") return { mood: "bad", sign: "✕", word: state };
  return status === undefined ? { mood: "wait", sign: "…", word: "waiting" } : { mood: "warn", sign: "!", word: "failed" };
}
