// The first screen: is it delivering, what waits, what was lost, is all of it stored.

import { byId, setText } from "./dom.js";
import { connectorState, count, duration, plural } from "./format.js";

// Milliseconds between two announcements to a screen reader.
const ANNOUNCED_EVERY = 5000;
let announced = 0;

/** Show the answers to the four questions. */
export function showSummary({ ledger, connectors, clock }) {
  showDelivering(connectors);
  showWaiting(ledger, connectors);
  showLost(ledger);
  showStored(ledger);
  const waiting = ledger.waiting ? `${count(ledger.waiting)} waiting` : "";
  const lost = ledger.expired + ledger.dropped;
  const failing = connectors.some((each) => connectorState(each).mood === "bad");
  const title = [failing ? "failing" : "", waiting].filter(Boolean).join(", ");
  document.title = title ? `● ${title} – DT Cloud` : "DT Cloud on your desk";
  byId("icon").href = `/page/${failing ? "icon-bad" : waiting ? "icon-wait" : "icon"}.svg`;
  if (performance.now() - announced > ANNOUNCED_EVERY) {
    announced = performance.now();
    setText(byId("announced"), `${plural(ledger.delivered, "event")} delivered, ${count(ledger.waiting)} waiting, ${count(lost)} lost.`);
  }
  showClock(clock);
}

function card(id, mood, figure, text) {
  byId(id).dataset.mood = mood;
  setText(byId(`${id}-figure`), figure);
  setText(byId(`${id}-text`), text);
}

function showDelivering(connectors) {
  if (!connectors.length) return card("delivering", "off", "No connector", "Add a Data Connector below, and events are sent to it.");
  const states = connectors.map((each) => ({ ...connectorState(each), name: each.displayName || each.id }));
  const failing = states.filter(({ mood }) => mood === "bad");
  const off = states.filter(({ mood }) => mood === "off");
  if (failing.length) return card("delivering", "bad", failing.length === states.length ? "No" : "In part", `${failing[0].name}: ${failing[0].text}`);
  if (off.length) return card("delivering", "off", off.length === states.length ? "Disabled" : "In part", `${off[0].name}: ${off[0].text}`);
  const first = connectors[0];
  return card("delivering", "good", "Yes", `${plural(states.length, "connector")} active. ${states[0].text} p99 ${first.metrics.latency99p} of 10 s.`);
}

function showWaiting(ledger, connectors) {
  const next = connectors.map((each) => each.nextAttemptIn).filter((each) => each !== null);
  const text = ledger.waiting ? (next.length ? `Next attempt in ${duration(Math.min(...next))}. An event waits 12 h at most.` : "Under way.") : "Nothing waits.";
  card("waiting", ledger.waiting ? "wait" : "good", count(ledger.waiting), text);
}

function showLost(ledger) {
  const types = {};
  for (const counts of Object.values(ledger.lostByType)) {
    for (const [type, number] of Object.entries(counts)) types[type] = (types[type] ?? 0) + number;
  }
  const worst = Object.entries(types).sort((a, b) => b[1] - a[1]).slice(0, 3).map(([type, number]) => `${type} ${count(number)}`);
  const lost = ledger.expired + ledger.dropped;
  const text = lost ? `${count(ledger.expired)} expired after 12 h, ${count(ledger.dropped)} dropped while disabled: ${worst.join(", ")}.` : "Nothing expired, nothing was dropped.";
  card("lost", lost ? "bad" : "good", count(lost), text);
}

function showStored(ledger) {
  const sum = `published ${count(ledger.published)} = delivered ${count(ledger.delivered)} + waiting ${count(ledger.waiting)} + expired ${count(ledger.expired)} + dropped ${count(ledger.dropped)}`;
  if (!ledger.store) return card("stored", "off", count(ledger.delivered), `delivered. ${sum}.`);
  const { stored, storedTwice, missing, isReadable } = ledger.store;
  if (!isReadable) return card("stored", "off", count(stored), "The receiver's database cannot be read just now.");
  const verdict = missing || storedTwice ? `${count(missing)} missing, ${count(storedTwice)} stored twice.` : "each once, none missing.";
  return card("stored", missing || storedTwice ? "bad" : "good", count(stored), `${verdict} ${sum}.`);
}

function showClock(clock) {
  const now = new Date(clock.now);
  setText(byId("clock"), now.toLocaleString([], { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" }));
  byId("clock").title = `${clock.now} (UTC)`;
  const factor = clock.factor >= 10 ? Math.round(clock.factor) : clock.factor.toFixed(1);
  setText(byId("speed"), clock.isPaused ? "stands still" : `${factor} × real time${clock.isAuto ? ", auto" : ""}`);
}
