/** The local receiver's page: the sensors, and the stored events, live. */

import { connect } from "./connection.js";
import { Devices } from "./devices.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import { EVENT_TYPES } from "./event-types.js";
import { count, plural, timeOfDay, utc } from "./format.js";
import { HeldList } from "./held.js";
import { prepareKeyboard } from "./keyboard.js";

const SAY_EVERY = 5_000;
const MAX_KEPT = 1_000;

const devices = new Devices();
const form = byId("filter");
const list = new HeldList({
  body: byId("events-body"),
  scroller: byId("events-scroller"),
  fresh: byId("events-fresh"),
  summary: byId("events-summary"),
  columns: 4,
  fill,
  accepts,
});
let kept = [], said = 0;

form.type.append(...EVENT_TYPES.map((type) => make("option", { value: type }, type)));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  list.clear();
  list.add(kept);
  list.flush();
});
prepareKeyboard(list, "event");
connect("/frames", "the receiver", { receive, render, lost: () => show("▲ Not connected", "bad") });

function receive(frame) {
  devices.receive(frame.devices);
  list.add(frame.events, frame.skipped);
  kept = [...kept, ...frame.events].slice(-MAX_KEPT);
  show(`✓ ${plural(frame.total, "event")} stored`, "good");
  if (Date.now() - said < SAY_EVERY) return;
  said = Date.now();
  setText(byId("counts"), `${plural(frame.total, "event")} stored.`);
}

function render() {
  devices.render(Date.now());
  list.flush();
}

function show(text, kind) {
  const title = `${text} – Receiver`;
  if (document.title !== title) document.title = title;
  setAttribute(byId("icon"), "href", `/page/icon-${kind}.svg`);
  setAttribute(byId("overall"), "class", `pill kind-${kind}`);
  setText(byId("overall"), text);
}

function accepts(item) {
  const text = form.device.value.trim().toLowerCase();
  return (!form.type.value || item.eventType === form.type.value) &&
    [item.device, item.name ?? ""].some((each) => each.toLowerCase().includes(text));
}

function fill(cells, item) {
  const [when, what, who, value] = cells;
  const button = when.firstElementChild ?? when.appendChild(make("button", { type: "button", class: "plain" }));
  setText(button, timeOfDay(item.receivedAt));
  setAttribute(button, "title", utc(item.receivedAt));
  setText(what, item.eventType);
  setText(who, item.name || item.device);
  setAttribute(who, "title", item.device);
  setText(value, typeof item.value === "number" ? count(item.value) : (item.value ?? ""));
  setAttribute(value, "title", item.key);
}
