/** The state in words, with the next step. */

import { ago, count, duration, plural } from "./format.js";

/** Describe a connector: the last attempt, the next one, and when DT gives up. */
export function stateWords(connector) {
  const { status, failures, ledger, lastAttempt, nextAttemptIn, disabledIn } = connector;
  if (status !== "ACTIVE") return disabledWords(status, ledger.dropped);
  const words = ["ACTIVE."];
  if (lastAttempt === null) {
    words.push("No attempt yet.");
  } else {
    const last = `${lastAttempt.status ?? `(${reason(lastAttempt.note)})`} ${ago(lastAttempt.ago)}`;
    words.push(
      isFailing(connector)
        ? `${plural(failures, "attempt")} failed, the last ${last}.`
        : `The last attempt got ${last}.`,
    );
  }
  if (ledger.waiting) {
    words.push(`${count(ledger.waiting)} ${ledger.waiting === 1 ? "waits" : "wait"}.`);
    words.push(nextAttemptIn === null || nextAttemptIn < 0.5 ? "Next now." : `Next in ${duration(nextAttemptIn)}.`);
  }
  if (disabledIn !== null) words.push(`Disabled in ${duration(disabledIn)} if nothing succeeds.`);
  return words.join(" ");
}

function disabledWords(status, dropped) {
  const why = status === "SYSTEM_DISABLED" ? "Nothing succeeded for 5 days." : "Switched off.";
  const lost = dropped ? ` ${plural(dropped, "event")} dropped so far.` : "";
  return `${status}. ${why} Events are dropped, not queued.${lost} Enable it, and synchronize for the newest values.`;
}

const REASONS = {
  ClientConnectorError: "no connection",
  ServerDisconnectedError: "connection closed",
  ClientOSError: "connection broken",
  ClientPayloadError: "answer cut off",
};

/** Return the reason for a missing answer. */
export function reason(note) {
  return note ? note.replace(/^[A-Za-z]+Error\b/, (name) => REASONS[name] ?? name) : "no answer";
}

/** Whether a connector's last attempts failed. */
export const isFailing = (connector) => connector.status === "ACTIVE" && connector.failingFor !== null;

/** The state of a connector as a kind, for style and sign, and a word. */
export function connectorState(connector) {
  if (connector.status === "SYSTEM_DISABLED") return { kind: "bad", sign: "✕", word: "Disabled by DT" };
  if (connector.status !== "ACTIVE") return { kind: "off", sign: "◼", word: "Disabled" };
  if (isFailing(connector)) return { kind: "warn", sign: "▲", word: "Failing" };
  return { kind: "good", sign: "✓", word: connector.lastAttempt ? "Delivering" : "Ready" };
}

const WORST = ["bad", "warn", "off", "good"];

/** The state of all connectors together: that of the worst. */
export function overallState(connectors) {
  if (!connectors.length) return { kind: "off", sign: "◼", word: "No Data Connector" };
  const states = connectors.map(connectorState);
  const kind = WORST.find((each) => states.some((state) => state.kind === each));
  const first = states.find((state) => state.kind === kind);
  const number = states.filter((state) => state.kind === kind).length;
  const rest = connectors.length === 1 ? "" : number === connectors.length ? " (all)" : ` (${number} of ${connectors.length})`;
  return { ...first, word: first.word + rest };
}

/** The text for screen readers: counts, and the state. */
export function countWords(frame) {
  const { delivered, waiting, expired, dropped } = frame.ledger;
  return (
    `${overallState(frame.connectors).word}. ${count(waiting)} waiting, ${count(delivered)} delivered, ` +
    `${count(expired + dropped)} lost.`
  );
}
