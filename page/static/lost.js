// What the page says when it hears nothing: no old figure may look like a new one.

import { byId, setText } from "./dom.js";
import { duration } from "./format.js";

/** Say that the connection is lost, and how old everything is; or that it is back. */
export function showLost(isLost, milliseconds) {
  byId("lost-connection").hidden = !isLost;
  document.body.classList.toggle("stale", isLost);
  if (isLost) {
    setText(byId("lost-age"), duration(milliseconds / 1000));
    document.title = `✕ not connected – ${document.title.split(" – ").at(-1)}`;
  }
}
