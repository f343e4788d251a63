/** The sensors: the latest value, a line, and the time of the last event. */

import { byId, make, setAttribute, setText } from "./dom.js";
import { ago, count, duration, utc, valueText } from "./format.js";
import { Sparkline } from "./plots.js";

const MAX_ROWS = 200;
// Types about the sensor itself, not about what it measures.
const OWN = new Set(["touch", "networkStatus", "batteryStatus", "connectionStatus", "ethernetStatus", "cellularStatus",
  "connectionLatency", "probeWireStatus"]);

/** The table of sensors. */
export class Devices {
  constructor() {
    this.all = new Map();
    this.rows = new Map();
    this.changed = new Set();
    this.isNew = true;
    this.series = {};
    this.said = 0;
    byId("devices-filter").addEventListener("input", () => this.relist());
  }

  /** Add changed devices; or replace all, to drop those that were deleted while the connection was lost. */
  receive(devices, isAll = false) {
    const ids = new Set(devices.map((each) => each.id));
    for (const id of isAll ? [...this.all.keys()] : []) {
      if (!ids.has(id)) this.isNew = this.all.delete(id);
    }
    for (const device of devices) {
      if (device.isDeleted ? this.all.delete(device.id) : !this.all.has(device.id)) this.isNew = true;
      if (device.isDeleted) continue;
      this.all.set(device.id, device);
      this.changed.add(device.id);
    }
  }

  /** Show them; `now` is the time on the cloud's clock, in ms. */
  render(now) {
    if (this.isNew) this.relist();
    for (const id of this.changed) this.write(id);
    this.changed.clear();
    const second = Math.floor(Date.now() / 1000);
    if (second === this.said) return;
    this.said = second;
    for (const [id, row] of this.rows) this.writeAge(row, this.all.get(id), now);
    const times = [...this.all.values()].filter((each) => each.lastSeen).map((each) => Date.parse(each.lastSeen));
    const newest = times.length ? ` · last heard ${ago((now - Math.max(...times)) / 1000)}` : "";
    setText(byId("devices-summary"), this.all.size ? `${this.rows.size < this.all.size ? `${count(this.rows.size)} of ` : ""}${count(this.all.size)}${newest}` : "");
  }

  /** Draw the lines: [time, value] pairs by device. */
  draw(series) {
    this.series = series;
    for (const [id, row] of this.rows) {
      if (!series[id]) continue;
      const points = series[id].map(([time, value]) => [Date.parse(time), value]);
      const values = points.map(([, value]) => value).filter((value) => value !== null);
      const span = duration((points.at(-1)[0] - points[0][0]) / 1000);
      row.line.draw(points, `${points.length} readings over ${span}, ${Math.min(...values)} to ${Math.max(...values)}`);
      row.line.node.removeAttribute("hidden");
    }
  }

  relist() {
    this.isNew = false;
    const text = byId("devices-filter").value.trim().toLowerCase();
    const found = [...this.all.values()].filter((each) =>
      [each.id, each.name, each.description, each.type].some((part) => (part ?? "").toLowerCase().includes(text)),
    );
    const wanted = new Set(found.slice(0, MAX_ROWS).map((each) => each.id));
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    for (const id of wanted) {
      if (!this.rows.has(id)) {
        this.rows.set(id, newRow());
        this.changed.add(id);
      }
      byId("devices-body").append(this.rows.get(id).node);
    }
    byId("devices-empty").hidden = this.all.size > 0;
    const rest = found.length - wanted.size;
    setText(byId("devices-rest"), rest ? `${count(rest)} more. Filter to see them.` : "");
    this.said = 0;
    this.draw(this.series);
  }

  write(id) {
    const row = this.rows.get(id);
    if (!row) return;
    const { name, description, type, values } = this.all.get(id);
    setText(row.name, name || id);
    setText(row.detail, [description, name && id, type].filter(Boolean).join(" · "));
    const main = values.filter((each) => !OWN.has(each.type));
    const shown = (main.length ? main : values.slice(0, 1)).map((each) => [each, valueText(each) || each.type]);
    setText(row.value, shown[0]?.[1] ?? "–");
    setText(row.more, shown.slice(1).map(([, text]) => text).join(" · "));
    setAttribute(row.valueCell, "title", values.map((each) => `${each.quantity ?? each.type}: ${valueText(each)}`).join("\n"));
  }

  writeAge(row, { lastSeen }, now) {
    setText(row.seen, lastSeen ? ago((now - Date.parse(lastSeen)) / 1000) : "never");
    setAttribute(row.seen, "title", lastSeen ? utc(lastSeen) : null);
  }
}

function newRow() {
  const line = new Sparkline();
  line.node.setAttribute("hidden", "");
  const row = {
    line,
    name: make("span", { class: "name" }),
    detail: make("span", { class: "detail" }),
    value: make("span", { class: "value" }),
    more: make("span", { class: "detail" }),
    seen: make("td", { class: "seen" }),
  };
  row.valueCell = make("td", { class: "reading" }, row.value, row.more);
  row.node = make("tr", {}, make("th", { scope: "row" }, row.name, row.detail), row.valueCell, make("td", { class: "trend" }, line.node), row.seen);
  return row;
}
