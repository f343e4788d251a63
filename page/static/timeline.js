/** All attempts of a delivery on a time line. */

import { makeSvg } from "./dom.js";
import { duration, plural } from "./format.js";
import { reason } from "./words.js";

const HEIGHT = 54, EDGE = 12;

/** Draw attempts: a filled circle was acknowledged, a cross failed, an open circle is the next attempt. */
export function timeline({ published, due, attempts, state }) {
  // Drawn in pixels, so that its texts stay legible in a narrow window.
  const width = Math.max(220, Math.min(640, innerWidth - 60));
  const start = Date.parse(published);
  const times = attempts.map((each) => Date.parse(each.started));
  const end = Math.max(start + 1000, ...times, due ? Date.parse(due) : 0);
  // Delays double, so a square-root scale gives the early attempts more space.
  const x = (time) => EDGE + Math.sqrt(Math.max(0, time - start) / (end - start)) * (width - 2 * EDGE);
  const marks = attempts.map((each, index) => {
    const isLast = index === attempts.length - 1;
    return mark(x(times[index]), isLast && state === "delivered" ? "good" : "bad", words(each, (times[index] - start) / 1000));
  });
  if (due) marks.push(mark(x(Date.parse(due)), "next", `Next ${duration((Date.parse(due) - start) / 1000)} after it was published`));
  const label = `${plural(attempts.length, "attempt")} in ${duration(((times.at(-1) ?? start) - start) / 1000)}`;
  return makeSvg(
    "svg",
    { class: "timeline", width, height: HEIGHT, role: "img", "aria-label": label },
    makeSvg("path", { class: "axis-line", d: `M${EDGE} 20H${width - EDGE}` }),
    ...marks,
    makeSvg("text", { x: EDGE, y: HEIGHT - 8, class: "axis" }, "published"),
    makeSvg("text", { x: width - EDGE, y: HEIGHT - 8, class: "axis", "text-anchor": "end" }, `${duration((end - start) / 1000)} later`),
  );
}

function words({ number, status, note }, seconds) {
  return `Attempt ${number} after ${duration(seconds)}: ${status ?? reason(note)}`;
}

function mark(x, kind, title) {
  const shape =
    kind === "bad"
      ? makeSvg("path", { d: `M${x - 5} 15l10 10m0 -10l-10 10` })
      : makeSvg("circle", { cx: x, cy: 20, r: 5 });
  return makeSvg("g", { class: `mark mark-${kind}` }, makeSvg("title", {}, title), shape);
}
