// Plots, drawn as SVG. A value that is not known leaves a gap, and so does a sensor that said nothing for long.

const NS = "http://www.w3.org/2000/svg";
// A step that is longer than so many usual ones is a gap.
const GAP = 2.5;

function svg(name, attributes, ...children) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function canvas(width, height, label, ...children) {
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none", class: "plot" }, ...children);
  node.setAttribute("aria-label", label);
  return node;
}

/** Split points [x, y] where y is null, or where x goes on by more than a few usual steps. */
export function pieces(points) {
  const steps = points.slice(1).map(([x], index) => x - points[index][0]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 0;
  const found = [[]];
  let before = null;
  for (const point of points) {
    const isGap = before !== null && usual > 0 && point[0] - before > GAP * usual;
    if (point[1] === null || isGap) found.push([]);
    if (point[1] !== null) {
      found.at(-1).push(point);
      before = point[0];
    }
  }
  return found.filter((piece) => piece.length);
}

function path(piece, x, y) {
  return piece.map((point, index) => `${index ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
}

/** Draw the readings of a sensor, [[time, value], ...], as a line. */
export function sparkline(series, label) {
  const [width, height, edge] = [120, 24, 2];
  const points = series.map(([time, value]) => [new Date(time).valueOf(), value]);
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (time) => edge + ((time - first) / (last - first || 1)) * (width - 2 * edge);
  const y = (value) => height - edge - ((value - low) / (high - low || 1)) * (height - 2 * edge);
  const lines = pieces(points).map((piece) =>
    piece.length > 1
      ? svg("path", { d: path(piece, x, y), class: "line" })
      : svg("circle", { cx: x(piece[0][0]), cy: y(piece[0][1]), r: 1.5, class: "dot" }),
  );
  return canvas(width, height, label, ...lines);
}

/** Draw deliveries a second as bars: delivered below, failed above it. */
export function bars(delivered, failed, label) {
  const [width, height] = [480, 72];
  const step = width / delivered.length;
  const most = Math.max(1, ...delivered.map((value, index) => (value ?? 0) + (failed[index] ?? 0)));
  const bar = (index, from, value, name) =>
    svg("rect", {
      x: (index * step).toFixed(1),
      width: Math.max(1, step - 0.6).toFixed(1),
      y: (height - ((from + value) / most) * height).toFixed(1),
      height: ((value / most) * height).toFixed(1),
      class: name,
    });
  const drawn = [];
  delivered.forEach((value, index) => {
    if (value === null) return;
    if (value) drawn.push(bar(index, 0, value, "good"));
    if (failed[index]) drawn.push(bar(index, value, failed[index], "bad"));
  });
  return { node: canvas(width, height, label, ...drawn), most };
}

/** Draw how many deliveries wait, second by second, as an area. */
export function area(values, label) {
  const [width, height] = [480, 72];
  const most = Math.max(1, ...values.map((value) => value ?? 0));
  const x = (index) => (index / (values.length - 1 || 1)) * width;
  const y = (value) => height - (value / most) * height;
  const drawn = pieces(values.map((value, index) => [index, value])).map((piece) =>
    svg("path", { d: `${path(piece, x, y)}L${x(piece.at(-1)[0]).toFixed(1)} ${height}L${x(piece[0][0]).toFixed(1)} ${height}Z`, class: "area" }),
  );
  return { node: canvas(width, height, label, ...drawn), most };
}

/** Draw the attempts of a delivery on a line of time: full for a success, hollow for a failure. */
export function timeline(attempts, label) {
  const [width, height, edge] = [480, 28, 8];
  const times = attempts.map(({ started }) => new Date(started).valueOf());
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 1];
  // By the logarithm of the wait: the first attempts are seconds apart, the last an hour.
  const place = (time) => Math.log1p((time - first) / 1000) / (Math.log1p((last - first) / 1000) || 1);
  const dots = attempts.map(({ status }, index) =>
    svg("circle", {
      cx: (edge + place(times[index]) * (width - 2 * edge)).toFixed(1),
      cy: height / 2,
      r: 5,
      class: status !== null && status >= 200 && status < 300 ? "attempt good" : "attempt bad",
    }),
  );
  const rule = svg("line", { x1: edge, x2: width - edge, y1: height / 2, y2: height / 2, class: "rule" });
  return canvas(width, height, label, rule, ...dots);
}
