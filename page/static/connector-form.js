/** The form of a Data Connector, as in DT Studio. Frames do not overwrite a form that is being edited. */

import { byId, make, setText } from "./dom.js";
import { EVENT_TYPES } from "./event-types.js";
import { act } from "./requests.js";

/** A form; `projects`, names by id, only for a new connector. */
export class ConnectorForm {
  constructor(action, projects = null) {
    this.node = byId("form-template").content.firstElementChild.cloneNode(true);
    this.fields = this.node.elements;
    this.isNew = projects !== null;
    this.isEdited = false;
    this.shown = null;
    const part = (name) => this.node.querySelector(`[data-part="${name}"]`);
    this.error = part("error");
    this.changed = part("changed");
    this.discard = part("discard");
    this.types = part("types");
    setText(part("submit"), action);
    this.types.append(
      ...EVENT_TYPES.map((type) => make("label", { class: "check" }, make("input", { type: "checkbox", name: "type", value: type }), type)),
    );
    this.node.addEventListener("input", () => this.edit(true));
    this.node.addEventListener("change", () => (this.types.hidden = this.fields.which.value !== "chosen"));
    this.discard.addEventListener("click", () => this.reset());
    part("show").addEventListener("click", (event) => this.showSecret(event.currentTarget));
    part("sync").addEventListener("click", () => this.onSync());
    part("delete").addEventListener("click", () => this.onDelete());
    for (const name of ["sync", "delete"]) part(name).hidden = this.isNew;
    part("project").hidden = !this.isNew;
    for (const [id, name] of Object.entries(projects ?? {})) this.fields.project.append(make("option", { value: id }, name));
  }

  /** Show a connector, unless the form is being edited. */
  show(connector) {
    const { displayName, status, events, labels, httpConfig } = connector;
    const text = JSON.stringify([displayName, status, events, labels, httpConfig]);
    if (text === this.shown) return;
    this.connector = connector;
    this.changed.hidden = !this.isEdited;
    if (this.isEdited) return;
    this.shown = text;
    const { fields } = this;
    fields.displayName.value = displayName;
    fields.url.value = httpConfig.url;
    fields.enabled.checked = status === "ACTIVE";
    fields.which.value = events.length ? "chosen" : "all";
    this.types.hidden = !events.length;
    for (const box of this.types.querySelectorAll("input")) box.checked = events.includes(box.value);
    fields.labels.value = labels.join(", ");
    fields.headers.value = Object.entries(httpConfig.headers).map(([name, value]) => `${name}: ${value}`).join("\n");
    fields.secret.value = httpConfig.signatureSecret;
  }

  /** Return the fields to send, or null if they are invalid. */
  read() {
    const { fields } = this;
    const chosen = [...this.types.querySelectorAll("input:checked")].map((box) => box.value);
    const isAll = fields.which.value === "all";
    if (!isAll && !chosen.length) return this.refuse("Choose at least one event type: none would mean all of them.");
    const headers = {};
    for (const line of fields.headers.value.split("\n").filter((each) => each.trim())) {
      const at = line.indexOf(":");
      if (at < 1) return this.refuse(`A header is written “Name: value”, not “${line.trim()}”.`);
      headers[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    }
    const wasEnabled = this.connector ? this.connector.status === "ACTIVE" : null;
    return {
      ...(this.isNew ? { project: fields.project.value } : {}),
      displayName: fields.displayName.value.trim(),
      // Without a change, the state is kept, also SYSTEM_DISABLED.
      ...(fields.enabled.checked === wasEnabled ? {} : { status: fields.enabled.checked ? "ACTIVE" : "USER_DISABLED" }),
      events: isAll ? [] : chosen,
      labels: fields.labels.value.split(",").map((each) => each.trim()).filter(Boolean),
      httpConfig: { url: fields.url.value.trim(), signatureSecret: fields.secret.value, headers },
    };
  }

  /** Send the form; return whether it was accepted. The form shows an error. */
  async sending(request, what) {
    setText(this.error, "");
    const answer = await act(what, async () => {
      try {
        return await request();
      } catch (error) {
        this.refuse(error.message);
        throw error;
      }
    });
    if (answer) this.reset(answer);
    return answer !== null;
  }

  refuse(text) {
    setText(this.error, `✕ ${text}`);
    return null;
  }

  edit(isEdited) {
    this.isEdited = isEdited;
    this.discard.hidden = !isEdited || this.isNew;
    if (!isEdited) this.changed.hidden = true;
  }

  reset(connector = this.connector) {
    this.edit(false);
    this.shown = null;
    setText(this.error, "");
    if (connector) this.show(connector);
  }

  showSecret(button) {
    const isHidden = this.fields.secret.type === "password";
    this.fields.secret.type = isHidden ? "text" : "password";
    setText(button, isHidden ? "Hide" : "Show");
    button.setAttribute("aria-pressed", String(isHidden));
  }
}
