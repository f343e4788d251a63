/** The state outside the page's content: the tab's title and icon, and the text for screen readers. */

import { byId, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";
import { countWords, overallState } from "./words.js";

const SAY_EVERY = 5_000;
let said = 0;

/** Show a frame's state in title and icon. */
export function showState(frame) {
  const { waiting } = frame.ledger;
  const { kind, sign, word } = overallState(frame.connectors);
  const title = waiting ? `● ${count(waiting)} waiting` : `${sign} ${word}`;
  show(title, waiting && kind === "good" ? "warn" : kind);
  setAttribute(byId("overall"), "class", `pill kind-${kind}`);
  setText(byId("overall"), `${sign} ${word}`);
  if (Date.now() - said < SAY_EVERY) return;
  said = Date.now();
  setText(byId("counts"), countWords(frame));
}

/** Show that the state is unknown. */
export const showLost = () => show("▲ Not connected", "bad");

function show(text, kind) {
  const title = `${text} – DT Cloud`;
  if (document.title !== title) document.title = title;
  setAttribute(byId("icon"), "href", `/page/icon-${kind}.svg`);
}
