/** Plots, as SVG. Unknown values are gaps. */

import { make, makeSvg, setAttribute, setText } from "./dom.js";

// A step this many times as long as the median is a gap.
const GAP = 2.5;

/** Split points [x, y] where y is null, or where the step is much longer than the median. */
export function segments(points) {
  const steps = points.slice(1).map(([x], index) => x - points[index][0]).sort((a, b) => a - b);
  const longest = GAP * (steps[Math.floor(steps.length / 2)] ?? Infinity);
  const found = [];
  let last = null;
  for (const point of points) {
    if (point[1] === null) {
      last = null;
      continue;
    }
    if (last === null || point[0] - last[0] > longest) found.push([]);
    found.at(-1).push(point);
    last = point;
  }
  return found;
}

/** A line without axes, for a table row: [time in ms, value] pairs. */
export class Sparkline {
  constructor(width = 96, height = 24) {
    this.size = [width, height];
    this.path = makeSvg("path", { class: "line" });
    this.node = makeSvg(
      "svg",
      { class: "sparkline", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "No readings" },
      this.path,
    );
  }

  /** Draw points; the label describes them. */
  draw(points, label) {
    const [width, height] = this.size;
    const values = points.map(([, y]) => y).filter((y) => y !== null);
    const low = Math.min(...values), high = Math.max(...values);
    const from = points[0]?.[0] ?? 0, span = (points.at(-1)?.[0] ?? 0) - from || 1;
    const x = (time) => 2 + ((time - from) / span) * (width - 4);
    const y = (value) => (high === low ? height / 2 : height - 3 - ((value - low) / (high - low)) * (height - 6));
    setAttribute(this.path, "d", segments(points).map((each) => line(each, x, y)).join(""));
    setAttribute(this.node, "aria-label", label);
  }
}

function line(points, x, y) {
  const [first, ...rest] = points.map(([time, value]) => `${x(time).toFixed(1)} ${y(value).toFixed(1)}`);
  // A single reading between two gaps is a dot: a line of length 0 with round caps.
  return `M${first}${rest.length ? rest.map((each) => `L${each}`).join("") : "h0"}`;
}

/** Stacked bars per second, with a scale: one class per series, with values in this order. */
export class Bars {
  constructor(title, names, width = 480, height = 72) {
    this.title = title;
    this.names = names;
    this.size = [width, height];
    this.paths = names.map((name) => makeSvg("path", { class: `bar bar-${name}` }));
    this.unknown = makeSvg("path", { class: "unknown" });
    this.svg = makeSvg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      this.unknown, ...this.paths,
    );
    // Texts are HTML: an SVG in a narrow window would shrink them.
    this.top = make("span", { class: "most" });
    const scale = make("span", { class: "scale" }, make("span", {}, "2 min ago"), make("span", {}, "now"));
    this.node = make("div", { class: "plot" }, this.top, this.svg, scale);
  }

  /** Draw lists of numbers of the same length, newest last; null for unknown. */
  draw(lists) {
    const [width, bottom] = this.size;
    const step = width / lists[0].length;
    const sums = lists[0].map((first, at) => (first === null ? null : lists.reduce((sum, list) => sum + list[at], 0)));
    const most = Math.max(0, ...sums.filter((sum) => sum !== null));
    const scale = (bottom - 4) / nice(most);
    const base = sums.map(() => bottom);
    lists.forEach((list, index) => {
      let path = "";
      list.forEach((value, at) => {
        if (!value) return;
        const tall = Math.max(1, value * scale);
        base[at] -= tall;
        path += `M${(at * step).toFixed(1)} ${base[at].toFixed(1)}h${(step * 0.8).toFixed(1)}v${tall.toFixed(1)}h${(-step * 0.8).toFixed(1)}z`;
      });
      setAttribute(this.paths[index], "d", path);
    });
    setAttribute(this.unknown, "d", unknownRuns(sums, step, bottom));
    setText(this.top, most ? nice(most).toLocaleString("en") : "");
    const now = this.names.map((name, index) => `${lists[index].at(-1) ?? "unknown"} ${name}`).join(", ");
    setAttribute(this.svg, "aria-label", `${this.title}, last 2 minutes: ${now} now; ${most} at most.`);
  }
}

function unknownRuns(sums, step, bottom) {
  let path = "";
  for (let at = 0; at < sums.length; at++) {
    const start = at;
    while (at < sums.length && sums[at] === null) at++;
    if (at > start) path += `M${(start * step).toFixed(1)} ${bottom - 4}h${((at - start) * step).toFixed(1)}v4h${(-(at - start) * step).toFixed(1)}z`;
  }
  return path;
}

/** The next round number: 1, 2, 5, 10, 20, 50 and so on. */
function nice(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= most);
}
