/** The ledger: the outcomes of all events, and the lost events by type. */

import { byId, setAttribute, setText } from "./dom.js";
import { count, duration } from "./format.js";

/** Show a frame's ledger. */
export function renderLedger({ ledger, connectors }) {
  for (const name of ["published", "delivered", "waiting", "expired", "dropped"]) {
    setText(byId(`ledger-${name}`), count(ledger[name]));
  }
  for (const name of ["expired", "dropped"]) {
    setText(byId(`ledger-${name}-types`), byType(ledger.lostByType[name]) || "none");
    setAttribute(byId(`ledger-${name}-types`), "title", byType(ledger.lostByType[name], Infinity) || null);
    byId(`ledger-${name}`).parentElement.classList.toggle("is-bad", ledger[name] > 0);
  }
  const due = connectors.map((each) => each.nextAttemptIn).filter((each) => each !== null);
  const next = Math.min(...due);
  setText(byId("ledger-waiting-next"), !ledger.waiting ? "nothing waits" : next < 0.5 || !due.length ? "next now" : `next in ${duration(next)}`);
  byId("ledger-waiting").parentElement.classList.toggle("is-warn", ledger.waiting > 0);
  const share = ledger.published ? `${(Math.floor((ledger.delivered / ledger.published) * 1000) / 10).toFixed(1)} %` : "nothing yet";
  setText(byId("ledger-delivered-share"), share);
  setText(byId("ledger-published-filtered"), ledger.filtered ? `${count(ledger.filtered)} filtered out` : "to connectors");
  renderStore(ledger);
}

/** If the store is readable: whether it has all delivered events. */
function renderStore({ store }) {
  byId("ledger-store").hidden = !store;
  if (!store) return;
  const line = byId("ledger-store-state");
  const { isReadable, stored, storedTwice, missing } = store;
  const isWhole = isReadable && !missing && !storedTwice;
  const faults = [!isReadable && "cannot be read", missing && `${count(missing)} missing`, storedTwice && `${count(storedTwice)} twice`];
  setText(line, `${isWhole ? "✓" : "▲"} ${count(stored)} stored${isWhole ? " once" : `: ${faults.filter(Boolean).join(", ")}`}`);
  setAttribute(line, "class", `pill kind-${isWhole ? "good" : "warn"}`);
}

function byType(counts = {}, most = 2) {
  const sorted = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const rest = sorted.length > most ? ` +${sorted.length - most}` : "";
  return sorted.slice(0, most).map(([type, number]) => `${type} ${count(number)}`).join(", ") + rest;
}
