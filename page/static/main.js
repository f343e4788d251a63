/** DT Cloud's page: receives frames, and shows them. */

import { connect } from "./connection.js";
import { Connectors } from "./connectors.js";
import { Controls } from "./controls.js";
import { Deliveries } from "./deliveries.js";
import { prepareDelivery, refresh, showDelivery } from "./delivery.js";
import { Devices } from "./devices.js";
import { byId } from "./dom.js";
import { EVENT_TYPES } from "./event-types.js";
import { prepareKeyboard } from "./keyboard.js";
import { renderLedger } from "./ledger.js";
import { Bars } from "./plots.js";
import { prepareStatus, read } from "./requests.js";
import { showLost, showState } from "./title.js";

const SERIES_EVERY = 5_000;

const open = (item) => showDelivery(item.id);
const deliveries = new Deliveries(open);
const devices = new Devices();
const connectors = new Connectors();
const controls = new Controls();
const rates = new Bars("Deliveries per second", ["delivered", "failed"]);
const depth = new Bars("Queue depth", ["waiting"]);
let frame = null;

byId("rates").append(rates.node);
byId("depth").append(depth.node);
deliveries.offer(EVENT_TYPES);
prepareStatus();
prepareDelivery(() => deliveries.list.goLive());
prepareKeyboard(deliveries.list, "delivery", open, "Waits are on the cloud’s clock, which may run faster than yours.");

connect("/desk/frames", "DT Cloud", { receive, render, lost: showLost, found: () => deliveries.reload() });
setInterval(drawLines, SERIES_EVERY);

const linked = /^#delivery=(\d+)$/.exec(location.hash);
if (linked) showDelivery(Number(linked[1]));

function receive(next) {
  // The lines are drawn in existing rows.
  if (!frame) setTimeout(drawLines, 500);
  // What never changes comes with the first frame of each connection, as do all devices.
  frame = { ...frame, ...next };
  devices.receive(frame.devices, "projects" in next);
  deliveries.learn(frame.devices);
  deliveries.receive(frame);
  for (const { id } of frame.attempts) refresh(id);
  // Not in render, which does not run in a background tab, where only the title is visible.
  showState(frame);
}

function render() {
  renderLedger(frame);
  connectors.render(frame);
  controls.render(frame);
  devices.render(Date.parse(frame.clock.now));
  deliveries.list.flush();
  rates.draw([frame.plot.delivered, frame.plot.failed]);
  depth.draw([frame.plot.waiting]);
}

async function drawLines() {
  if (document.hidden) return;
  try {
    devices.draw(await read("/desk/series"));
  } catch {
    // The banner reports it.
  }
}
