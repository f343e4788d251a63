// The page of DT Cloud on your desk.

import { copy } from "./actions.js";
import { offerNew, showConnectors } from "./connectors.js";
import { offerClock, showControls } from "./controls.js";
import { addDeliveries, move, offerDeliveries, openSelected, select, showDeliveries } from "./deliveries.js";
import { showDelivery } from "./delivery.js";
import { addDevices, setSeries, showDevices } from "./devices.js";
import { byId, setText } from "./dom.js";
import { follow, painter } from "./frames.js";
import { offerKeys } from "./keys.js";
import { showLost } from "./lost.js";
import { area, bars } from "./plots.js";
import { showSummary } from "./summary.js";

// Milliseconds between looks at the readings of all sensors.
const SERIES_EVERY = 5000;
let frame = null;
let plotted = "";

const paint = painter(() => {
  showSummary(frame);
  showConnectors(frame.connectors);
  showControls(frame);
  showDeliveries();
  showDevices(frame.clock.now);
  showPlots(frame.plot);
});

function showPlots(plot) {
  const state = JSON.stringify(plot);
  if (state === plotted) return;
  plotted = state;
  const rate = bars(plot.delivered, plot.failed, "Deliveries a second over two minutes");
  const depth = area(plot.waiting, "Waiting deliveries over two minutes");
  byId("rate-plot").replaceChildren(rate.node);
  byId("depth-plot").replaceChildren(depth.node);
  setText(byId("rate-most"), `${rate.most} a second at most`);
  setText(byId("depth-most"), `${depth.most} at most`);
}

async function look() {
  try {
    setSeries(await (await fetch("/desk/series")).json());
  } catch {
    // The banner says that the cloud does not answer.
  }
  setTimeout(look, SERIES_EVERY);
}

offerClock();
offerDeliveries(showDelivery);
offerNew(() => Object.entries(frame?.projects ?? {}));
offerKeys({ move, open: openSelected, leave: () => select(null) });
byId("delivery").addEventListener("close", () => {
  select(null);
  history.replaceState(null, "", location.pathname);
});
byId("said-copy").addEventListener("click", (event) => copy(byId("said-command").textContent, event.currentTarget));
byId("help-button").addEventListener("click", () => byId("help").showModal());
follow(
  "/desk/frames",
  (found) => {
    frame = found;
    addDeliveries(found.attempts.map((row) => ({ ...row, key: `${row.id}.${row.attempt}` })), found.skipped);
    addDevices(found.devices);
    paint();
  },
  showLost,
);
look();
const linked = /^#delivery-(\d+)$/.exec(location.hash);
if (linked) showDelivery({ id: linked[1] });
