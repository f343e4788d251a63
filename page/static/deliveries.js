// The live list of deliveries. It holds still while somebody reads it.

import { byId, h, keyed, setText } from "./dom.js";
import { clockTime, count, dateTime, latency, outcome, plural } from "./format.js";

const MOST = 200;
let rows = [];
let pending = [];
let unseen = 0;
let selected = null;
let open = () => {};

/** Let rows be chosen; `onOpen(id)` shows one in full. */
export function offerDeliveries(onOpen) {
  open = onOpen;
  const list = byId("deliveries");
  list.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(row.dataset.key, true);
  });
  byId("deliveries-new").addEventListener("click", () => {
    select(null);
    byId("deliveries-scroll").scrollTop = 0;
    flush();
  });
  for (const id of ["outcome-filter", "type-filter", "delivery-filter"]) byId(id).addEventListener("input", () => showDeliveries());
}

/** Take in what happened; `skipped` more happened in between. */
export function addDeliveries(found, skipped = 0) {
  const known = new Set([...rows, ...pending].map((row) => row.key));
  pending.push(...found.filter((row) => !known.has(row.key)));
  unseen += skipped;
  if (pending.length > MOST) {
    unseen += pending.length - MOST;
    pending = pending.slice(-MOST);
  }
  offerTypes(found);
}

/** Show the list, unless somebody reads it: then only how many are new. */
export function showDeliveries() {
  if (!isHeld()) flush();
  const fresh = pending.length + (isHeld() ? unseen : 0);
  const button = byId("deliveries-new");
  button.hidden = !isHeld() || !fresh;
  setText(button, `${plural(fresh, "new row")}: show`);
  const wanted = rows.filter(isWanted);
  keyed(byId("deliveries"), wanted, (row) => row.key, make, update);
  setText(byId("deliveries-more"), wanted.length ? "" : rows.length ? "The filter lets nothing through." : "Nothing was sent yet.");
}

/** Move the selection by a step, as `j` and `k` do. */
export function move(step) {
  const wanted = rows.filter(isWanted);
  if (!wanted.length) return;
  const at = wanted.findIndex((row) => row.key === selected);
  choose(wanted[Math.min(Math.max(at + step, 0), wanted.length - 1)].key, false);
}

/** Open what is selected. */
export function openSelected() {
  const row = rows.find(({ key }) => key === selected);
  if (row) open(row);
}

/** Forget the selection, so that the list runs on. */
export function select(key) {
  selected = key;
  showDeliveries();
}

function choose(key, isOpened) {
  select(key);
  const node = byId("deliveries").querySelector(`[data-key="${CSS.escape(key)}"]`);
  node?.focus({ preventScroll: false });
  if (isOpened) openSelected();
}

function flush() {
  rows = [...pending.reverse(), ...rows].slice(0, MOST);
  pending = [];
  unseen = 0;
}

function isHeld() {
  const scroll = byId("deliveries-scroll");
  return selected !== null || scroll.scrollTop > 4 || scroll.matches(":hover") || scroll.contains(document.activeElement);
}

function isWanted(row) {
  const [wantedOutcome, type, text] = ["outcome-filter", "type-filter", "delivery-filter"].map((id) => byId(id).value.trim());
  return (
    (!wantedOutcome || outcome(row).word === wantedOutcome) &&
    (!type || row.eventType === type) &&
    (!text || `${row.name} ${row.device}`.toLowerCase().includes(text.toLowerCase()))
  );
}

function offerTypes(found) {
  const list = byId("type-filter");
  const known = new Set([...list.options].map((option) => option.value));
  for (const { eventType } of found) {
    if (!eventType || known.has(eventType)) continue;
    known.add(eventType);
    list.append(h("option", {}, eventType));
  }
}

function make(row) {
  const cell = (name) => h("td", { class: name });
  return h("tr", { tabindex: -1, "data-key": row.key }, cell("time"), h("td", { class: "outcome" }, h("span", { class: "badge" })), cell("type"), cell("who"), cell("what"));
}

function update(node, row) {
  const { mood, sign, word } = outcome(row);
  node.dataset.mood = mood;
  node.classList.toggle("selected", row.key === selected);
  const time = node.querySelector(".time");
  setText(time, clockTime(row.started));
  time.title = `${dateTime(row.started)} (${row.started} UTC)`;
  setText(node.querySelector(".badge"), `${sign} ${word}`);
  setText(node.querySelector(".type"), row.eventType ?? "");
  setText(node.querySelector(".who"), row.name || row.device || "");
  const attempt = row.attempt > 1 ? `attempt ${count(row.attempt)}` : "";
  const took = row.seconds === undefined ? "" : latency(row.seconds);
  setText(node.querySelector(".what"), [row.value, row.status, row.note, attempt, took].filter(Boolean).join(", "));
}
