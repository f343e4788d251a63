// Data Connectors: what each does, what comes next, and its form.

import { byId, h, keyed, setText } from "./dom.js";
import { connectorForm } from "./form.js";
import { connectorState, count } from "./format.js";

/** Show all connectors. */
export function showConnectors(connectors) {
  keyed(byId("connectors"), connectors, (each) => each.id, make, update);
  byId("no-connectors").hidden = connectors.length > 0;
}

/** Let the button open the form of a new connector. */
export function offerNew(projects) {
  const place = byId("new-connector");
  const details = place.closest("details");
  const fill = () => place.replaceChildren(connectorForm(null, projects(), () => (details.open = false)));
  details.addEventListener("toggle", () => details.open && fill());
}

function make(connector) {
  const details = h("details", { class: "form-details" }, h("summary", {}, "Configure"));
  const node = h(
    "li",
    { class: "connector" },
    h("h3", {}),
    h("p", { class: "state" }, h("strong", { class: "badge" }), h("span", { class: "words" })),
    h("p", { class: "target" }),
    h("dl", { class: "figures" }, ...["Waiting", "Successes, 3 h", "Errors, 3 h", "p99"].flatMap((name) => [h("dt", {}, name), h("dd", {})])),
    details,
  );
  details.addEventListener("toggle", () => {
    if (details.open) fill(node, details);
    else details.querySelector("form")?.remove();
  });
  node.connector = connector;
  return node;
}

function fill(node, details) {
  details.querySelector("form")?.remove();
  details.append(connectorForm(node.connector, []));
}

function update(node, connector) {
  const before = node.connector;
  node.connector = connector;
  const state = connectorState(connector);
  node.dataset.mood = state.mood;
  setText(node.querySelector("h3"), connector.displayName || connector.id);
  setText(node.querySelector(".badge"), state.word);
  setText(node.querySelector(".words"), ` ${state.text}`);
  setText(node.querySelector(".target"), `${connector.projectName} → ${connector.httpConfig.url}`);
  const { metrics, ledger } = connector;
  const figures = [count(ledger.waiting), count(metrics.successCount), count(metrics.errorCount), `${metrics.latency99p} of 10 s`];
  node.querySelectorAll("dd").forEach((each, index) => setText(each, figures[index]));
  // A form that nobody has touched shows what somebody else changed.
  const details = node.querySelector("details");
  const form = details.querySelector("form");
  if (details.open && form && !form.dataset.edited && !form.contains(document.activeElement) && isChanged(before, connector)) fill(node, details);
}

const isChanged = (before, after) => ["displayName", "status", "events", "labels", "httpConfig"].some((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
