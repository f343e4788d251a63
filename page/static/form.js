// The form of one Data Connector, as DT Studio has it. What a person edits, no frame overwrites.

import { act, quoted } from "./actions.js";
import { byId, h } from "./dom.js";

const EVENT_TYPES = [
  "touch", "temperature", "objectPresent", "humidity", "objectPresentCount", "touchCount", "waterPresent", "co2", "pressure",
  "motion", "deskOccupancy", "contact", "probeWireStatus", "networkStatus", "batteryStatus", "labelsChanged", "connectionStatus",
  "ethernetStatus", "cellularStatus",
];

/** Make the form; `connector` is null for a new one, and `projects` are [id, name] then. */
export function connectorForm(connector, projects, onDone) {
  const config = connector?.httpConfig ?? { url: "http://127.0.0.1:8000", signatureSecret: "", headers: {} };
  const field = (label, input, hint) => h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", {}, hint));
  const input = (name, value, more = {}) => h("input", { name, value, autocomplete: "off", spellcheck: "false", ...more });
  const secret = input("secret", config.signatureSecret, { type: "password" });
  const show = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => reveal(secret, show) }, "Show");
  const all = h("input", { type: "checkbox", name: "all", checked: !connector?.events.length, onchange: () => (types.hidden = all.checked) });
  const types = h(
    "fieldset",
    { class: "types", hidden: !connector?.events.length },
    h("legend", {}, "Event types"),
    ...EVENT_TYPES.map((type) => h("label", {}, h("input", { type: "checkbox", name: "type", value: type, checked: connector?.events.includes(type) }), ` ${type}`)),
  );
  const form = h(
    "form",
    { class: "connector-form", onsubmit: (event) => submit(event, connector, onDone) },
    !connector && field("Project", h("select", { name: "project" }, ...projects.map(([id, name]) => h("option", { value: id }, name)))),
    field("Display name", input("displayName", connector?.displayName ?? "")),
    field("Endpoint URL", input("url", config.url, { type: "url", required: true })),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "enabled", checked: !connector || connector.status === "ACTIVE" }), " Data Connector enabled"),
    h("label", { class: "check" }, all, " Forward all events"),
    types,
    field("Labels", input("labels", (connector?.labels ?? ["name"]).join(", ")), "Sent with each event; commas between."),
    field("Custom headers", h("textarea", { name: "headers", rows: 2, spellcheck: "false" }, Object.entries(config.headers).map(([name, value]) => `${name}: ${value}`).join("\n")), "One a line: name: value."),
    field("Signature secret", h("span", { class: "with-button" }, secret, show)),
    h(
      "div",
      { class: "buttons" },
      h("button", { class: "main" }, connector ? "Update" : "Add"),
      connector && h("button", { type: "button", onclick: () => act("POST", `/desk/connectors/${connector.id}:sync`, {}, curl("POST", connector, ":sync")) }, "Synchronize"),
      connector && h("button", { type: "button", class: "danger", onclick: () => askToDelete(connector) }, "Delete"),
    ),
  );
  form.addEventListener("input", () => (form.dataset.edited = "yes"));
  return form;
}

function reveal(secret, button) {
  const isShown = secret.type === "text";
  secret.type = isShown ? "password" : "text";
  button.textContent = isShown ? "Show" : "Hide";
  button.setAttribute("aria-pressed", String(!isShown));
}

async function submit(event, connector, onDone) {
  event.preventDefault();
  const form = event.currentTarget;
  const data = new FormData(form);
  const lines = data.get("headers").split("\n").filter((line) => line.trim());
  const headers = Object.fromEntries(lines.map((line) => line.split(/:(.*)/s).slice(0, 2).map((part) => part.trim())));
  const given = {
    displayName: data.get("displayName"),
    status: data.has("enabled") ? "ACTIVE" : "USER_DISABLED",
    events: data.has("all") ? [] : data.getAll("type"),
    labels: data.get("labels").split(",").map((label) => label.trim()).filter(Boolean),
    httpConfig: { url: data.get("url"), signatureSecret: data.get("secret"), headers },
  };
  // The secret does not belong into a command on a screen.
  const shown = { ...given, httpConfig: { url: given.httpConfig.url, headers } };
  const answer = connector
    ? await act("PATCH", `/desk/connectors/${connector.id}`, given, curl("PATCH", connector, "", shown))
    : await act("POST", "/desk/connectors", { project: data.get("project"), ...given }, curl("POST", { name: `projects/${data.get("project")}/dataconnectors` }, "", { type: "HTTP_PUSH", ...shown }));
  if (answer) {
    delete form.dataset.edited;
    onDone?.();
  }
}

function askToDelete(connector) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = `Delete “${connector.displayName || connector.id}”? What waits for it is dropped.`;
  byId("confirm-yes").onclick = () => {
    dialog.close();
    act("DELETE", `/desk/connectors/${connector.id}`, {}, curl("DELETE", connector));
  };
  dialog.showModal();
}

/** Write the request of DT's API that does the same. */
function curl(method, { name }, verb = "", given = null) {
  const body = given ? ` -d ${quoted(JSON.stringify(given))}` : "";
  return `curl -X ${method} "$DT_API_URL/v2/${name}${verb}" -u "$DT_API_KEY_ID:$DT_API_KEY_SECRET"${body}`;
}
