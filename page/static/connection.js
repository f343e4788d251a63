/** The state of the connection on the page: when it is lost, a banner, and greyed data with its age. */

import { byId, setText } from "./dom.js";
import { duration } from "./format.js";
import { follow } from "./frames.js";

/** Follow frames: `receive` gets each, `render` runs once per screen refresh, `lost` without frames, `found` after that. */
export function connect(url, who, { receive, render, lost, found }) {
  let isWaiting = false;
  const banner = byId("connection");
  const age = byId("age");
  follow(url, {
    onFrame(frame) {
      receive(frame);
      if (isWaiting) return;
      isWaiting = true;
      requestAnimationFrame(() => {
        isWaiting = false;
        render();
      });
    },
    onLost(seconds) {
      document.body.classList.add("is-stale");
      lost();
      // The alert's text changes only once; otherwise a screen reader would read it every second.
      setText(banner, `Connection to ${who} lost. Connecting again…`);
      setText(age, `What you see is ${duration(seconds)} old.`);
    },
    onFound() {
      document.body.classList.remove("is-stale");
      setText(banner, "");
      setText(age, "");
      found?.();
    },
  });
}
