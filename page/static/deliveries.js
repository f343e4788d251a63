/** The live list of deliveries, its filter, and older ones from the server. */

import { byId, make, setAttribute, setText } from "./dom.js";
import { count, latency, timeOfDay, utc } from "./format.js";
import { HeldList } from "./held.js";
import { read } from "./requests.js";
import { reason } from "./words.js";

const OUTCOMES = {
  delivered: { sign: "✓", word: "Delivered", kind: "good" },
  waiting: { sign: "↻", word: "Failed, waits", kind: "warn" },
  expired: { sign: "⌛", word: "Expired", kind: "bad" },
  dropped: { sign: "✕", word: "Dropped", kind: "bad" },
};
const RECONCILE_EVERY = 2_000;
const MAX_PAGES = 4;

/** The outcomes of a delivery: sign, word and kind. */
export function outcome({ state, attempts }) {
  return state === "waiting" && !attempts ? { sign: "…", word: "Waits", kind: "off" } : OUTCOMES[state];
}

/** Create the list; `open(item)` shows a delivery's details. */
export class Deliveries {
  constructor(open) {
    this.filter = { state: "", type: "", device: "" };
    this.lost = -1;
    this.reconciled = 0;
    this.names = new Map();
    this.list = new HeldList({
      body: byId("deliveries-body"),
      scroller: byId("deliveries-scroller"),
      fresh: byId("deliveries-fresh"),
      summary: byId("deliveries-summary"),
      columns: 5,
      fill,
      accepts: (item) => this.accepts(item),
      open,
    });
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter").addEventListener("input", () => this.refilter());
    byId("deliveries-older").addEventListener("click", () => this.older());
    this.refilter();
  }

  /** Add a frame's attempts. */
  receive(frame) {
    const items = frame.attempts.map((each) => ({ ...each, key: each.id, attempts: each.attempt }));
    this.list.add(items, frame.skipped);
    const lost = frame.ledger.expired + frame.ledger.dropped;
    if (lost === this.lost || Date.now() - this.reconciled < RECONCILE_EVERY) return;
    this.lost = lost;
    this.reconciled = Date.now();
    this.reconcile();
  }

  /** Start again after a lost connection: the next frame has attempts whose outcome may be old. */
  reload() {
    this.lost = -1;
    this.reconciled = 0;
    this.refilter();
  }

  /** Look up waiting deliveries that expired or were dropped: there is no attempt, so no frame has this. */
  async reconcile() {
    for (const state of ["expired", "dropped"]) {
      let before = "";
      for (let page = 0; page < MAX_PAGES; page++) {
        const found = await this.fetch({ state, before });
        for (const item of found) this.list.change({ ...this.list.rows.get(item.key)?.item, ...item });
        if (!found.length) break;
        before = found.at(-1).id;
      }
    }
  }

  async fetch({ before = "", ...filter } = {}) {
    const { state, type, device } = { ...this.filter, ...filter };
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries({ state, type, before })) if (value) query.set(name, value);
    const exact = [...this.names].filter(([id, name]) => matches(device, id, name));
    if (device && exact.length === 1) query.set("device", exact[0][0]);
    try {
      return (await read(`/desk/deliveries?${query}`)).deliveries.map((each) => ({ ...each, key: each.id }));
    } catch {
      return []; // The banner reports it.
    }
  }

  accepts(item) {
    const { state, type, device } = this.filter;
    return (!state || item.state === state) && (!type || item.eventType === type) && matches(device, item.device, item.name);
  }

  async refilter() {
    const form = byId("filter");
    this.filter = { state: form.state.value, type: form.type.value, device: form.device.value.trim().toLowerCase() };
    const filter = this.filter;
    this.list.clear();
    const found = await this.fetch();
    if (filter !== this.filter) return;
    this.list.append(found);
    this.list.isOlder = false;
    this.list.flush();
  }

  async older() {
    const ids = [...this.list.rows.keys(), ...this.list.pending.keys()];
    const found = await this.fetch({ before: ids.length ? Math.min(...ids) : "" });
    this.list.append(found);
    this.list.flush();
    setText(byId("deliveries-older"), found.length ? "Older" : "No older ones");
  }

  /** Set the devices' names, for the filter. */
  learn(devices) {
    for (const { id, name } of devices) this.names.set(id, name);
  }

  /** Offer the event types in the filter. */
  offer(types) {
    const select = byId("filter").type;
    for (const type of types) select.append(make("option", { value: type }, type));
  }
}

const matches = (text, id, name) => !text || id.toLowerCase().includes(text) || (name ?? "").toLowerCase().includes(text);

function fill(cells, item) {
  const [when, what, who, result, took] = cells;
  const { sign, word, kind } = outcome(item);
  const button = when.firstElementChild ?? when.appendChild(make("button", { type: "button", class: "plain" }));
  const time = item.started ?? item.published;
  setText(button, timeOfDay(time));
  setAttribute(button, "title", utc(time));
  setAttribute(button, "aria-label", `${timeOfDay(time)}, show delivery ${item.id}`);
  setText(what, item.eventType);
  setText(who, item.name || item.device);
  setAttribute(who, "title", item.device);
  const failed = item.status === undefined ? "" : ` · ${item.status ?? reason(item.note)}`;
  setText(result, `${sign} ${word}${failed}`);
  setAttribute(result, "class", `kind-${kind}`);
  setAttribute(result, "title", item.note || null);
  const number = item.attempts > 1 ? `${count(item.attempts)}×` : "";
  setText(took, item.seconds === undefined ? number : [number, latency(item.seconds)].filter(Boolean).join(" "));
  setAttribute(took, "title", item.attempts > 1 ? `${item.attempts} attempts` : null);
}
