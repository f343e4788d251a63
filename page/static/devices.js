// What the sensors say: latest value and last seen, by the name that people gave them.

import { byId, h, keyed, setText } from "./dom.js";
import { ago, count, dateTime, readings } from "./format.js";
import { sparkline } from "./plots.js";

// Rows that are shown; a filter finds the others.
const MOST = 100;
const devices = new Map();
let series = {};
let isSeriesNew = false;

/** Take in devices of a frame. */
export function addDevices(changed) {
  for (const device of changed) devices.set(device.id, device);
}

/** Take in the readings of each sensor. */
export function setSeries(found) {
  series = found;
  isSeriesNew = true;
}

/** Return the name of a device, or its id. */
export const nameOf = (id) => devices.get(id)?.name || id;

/** Show the sensors that the filter lets through. */
export function showDevices(now) {
  const wanted = byId("device-filter").value.trim().toLowerCase();
  const found = [...devices.values()]
    .filter((each) => !wanted || [each.name, each.id, each.type, each.description].some((text) => text.toLowerCase().includes(wanted)))
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }) || a.id.localeCompare(b.id));
  keyed(byId("devices"), found.slice(0, MOST), (each) => each.id, make, (node, device) => update(node, device, now));
  isSeriesNew = false;
  const more = found.length > MOST ? `${count(found.length - MOST)} more: type a name above.` : "";
  setText(byId("devices-more"), found.length ? more : devices.size ? "No sensor is called that." : "No sensor yet.");
  setText(byId("devices-count"), count(devices.size));
}

function make(device) {
  const cell = (name, ...children) => h("td", { class: name }, ...children);
  return h(
    "tr",
    { "data-id": device.id },
    h("th", { scope: "row" }, h("span", { class: "name" }), h("small", { class: "description" }), h("small", { class: "id" }, device.id)),
    cell("value", h("span", { class: "main" }), h("small", { class: "about" })),
    cell("series"),
    cell("seen"),
  );
}

function update(node, device, now) {
  setText(node.querySelector(".name"), device.name || device.id);
  setText(node.querySelector(".description"), device.description || device.type);
  const { main, about } = readings(device.values);
  setText(node.querySelector(".main"), main);
  setText(node.querySelector(".about"), about);
  const seen = node.querySelector(".seen");
  setText(seen, device.lastSeen ? ago(device.lastSeen, now) : "never");
  if (device.lastSeen) seen.title = `${dateTime(device.lastSeen)} (${device.lastSeen} UTC)`;
  const line = series[device.id];
  if (line && (isSeriesNew || !node.querySelector("svg"))) {
    node.querySelector(".series").replaceChildren(sparkline(line, `The last ${line.length} readings of ${device.name || device.id}`));
  }
}
