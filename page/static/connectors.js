/** The Data Connectors: a card for each, with its state, its figures and its form. */

import { byId, setAttribute, setText } from "./dom.js";
import { count, latency } from "./format.js";
import { ConnectorForm } from "./connector-form.js";
import { act, send } from "./requests.js";
import { connectorState, stateWords } from "./words.js";

/** All cards, and the form for a new one. */
export class Connectors {
  constructor() {
    this.cards = new Map();
    this.projects = {};
    byId("add-connector").addEventListener("click", () => this.add());
    byId("new-cancel").addEventListener("click", () => byId("new-connector").close());
  }

  /** Show a frame's connectors. */
  render({ connectors, projects }) {
    this.projects = projects;
    const ids = new Set(connectors.map((each) => each.id));
    for (const [id, card] of this.cards) {
      if (ids.has(id)) continue;
      card.node.remove();
      this.cards.delete(id);
    }
    for (const connector of connectors) {
      if (!this.cards.has(connector.id)) {
        const card = new Card(connector.id);
        this.cards.set(connector.id, card);
        byId("connectors").append(card.node);
      }
      this.cards.get(connector.id).render(connector);
    }
    byId("connectors-empty").hidden = connectors.length > 0;
  }

  add() {
    const holder = byId("new-form");
    const form = new ConnectorForm("Create", this.projects);
    holder.replaceChildren(form.node);
    form.node.addEventListener("submit", async (event) => {
      event.preventDefault();
      const given = form.read();
      if (given && (await form.sending(() => send("POST", "/desk/connectors", given), "Data Connector created"))) {
        byId("new-connector").close();
      }
    });
    byId("new-connector").showModal();
  }
}

class Card {
  constructor(id) {
    this.id = id;
    this.node = byId("connector-template").content.firstElementChild.cloneNode(true);
    const part = (name) => this.node.querySelector(`[data-part="${name}"]`);
    this.parts = Object.fromEntries(
      ["state", "title", "where", "words", "successes", "errors", "latency", "edit", "sync", "form"].map((name) => [name, part(name)]),
    );
    this.form = new ConnectorForm("Update");
    this.parts.form.append(this.form.node);
    this.parts.edit.addEventListener("click", () => this.toggle());
    this.parts.sync.addEventListener("click", () => this.sync());
    this.form.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.update();
    });
    this.form.onSync = () => this.sync();
    this.form.onDelete = () => this.delete();
  }

  render(connector) {
    this.connector = connector;
    const { kind, sign, word } = connectorState(connector);
    const { parts } = this;
    setAttribute(parts.state, "class", `pill kind-${kind}`);
    setText(parts.state, `${sign} ${word}`);
    setText(parts.title, connector.displayName || connector.id);
    setText(parts.where, `${connector.projectName} → ${connector.httpConfig.url}`);
    setAttribute(parts.where, "title", connector.name);
    setText(parts.words, stateWords(connector));
    setText(parts.successes, count(connector.metrics.successCount));
    setText(parts.errors, count(connector.metrics.errorCount));
    setText(parts.latency, latency(parseFloat(connector.metrics.latency99p)));
    if (!parts.form.hidden) this.form.show(connector);
  }

  toggle() {
    const { form, edit } = this.parts;
    form.hidden = !form.hidden;
    setAttribute(edit, "aria-expanded", String(!form.hidden));
    if (!form.hidden) this.form.show(this.connector);
  }

  async update() {
    const given = this.form.read();
    if (given) await this.form.sending(() => send("PATCH", `/desk/connectors/${this.id}`, given), "Data Connector updated");
  }

  async sync() {
    const { id, parts } = this;
    const answer = await act(`${parts.title.textContent} synchronized`, () => send("POST", `/desk/connectors/${id}:sync`));
    if (answer) setText(byId("status-text"), `✓ ${count(answer.published)} newest events queued by synchronizing`);
  }

  delete() {
    const dialog = byId("confirm");
    const { waiting } = this.connector.ledger;
    setText(byId("confirm-text"), `Delete ${this.parts.title.textContent}? ${waiting ? `${count(waiting)} waiting events are dropped.` : "No event waits."}`);
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => dialog.returnValue === "delete" && act("Data Connector deleted", () => send("DELETE", `/desk/connectors/${this.id}`)),
      { once: true },
    );
    dialog.showModal();
  }
}
