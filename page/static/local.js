// The local receiver's page: what its sensors said, and what it stored.

import { addDeliveries, move, offerDeliveries, select, showDeliveries } from "./deliveries.js";
import { addDevices, showDevices } from "./devices.js";
import { byId, setText } from "./dom.js";
import { count } from "./format.js";
import { follow, painter } from "./frames.js";
import { offerKeys } from "./keys.js";
import { showLost } from "./lost.js";

let total = 0;

const paint = painter(() => {
  showDeliveries();
  showDevices(new Date().toISOString());
  setText(byId("total"), count(total));
});

offerDeliveries(() => {});
offerKeys({ move, open: () => {}, leave: () => select(null) });
byId("help-button").addEventListener("click", () => byId("help").showModal());
// "5 min ago" grows older also when nothing comes.
setInterval(paint, 1000);
follow(
  "/frames",
  (frame) => {
    byId("unreadable").hidden = !frame.error;
    setText(byId("unreadable"), frame.error ?? "");
    if (frame.error) return;
    total = frame.total;
    addDevices(frame.devices);
    addDeliveries(
      frame.events.map((event) => ({ ...event, started: event.receivedAt, state: "delivered" })),
      frame.skipped,
    );
    paint();
  },
  showLost,
);
