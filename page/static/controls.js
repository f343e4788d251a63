/** Time, the receiver, faults and scenarios. Each button shows the equivalent command. */

import { byId, make, setAttribute, setText } from "./dom.js";
import { count, day, timeOfDay, utc } from "./format.js";
import { act, send } from "./requests.js";

const FACTOR = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** The buttons that control the cloud. */
export class Controls {
  constructor() {
    this.faults = new Map();
    this.scenarios = "";
    this.clock = {};
    this.receiver = null;
    const clock = (what, given) => act(what, () => send("POST", "/desk/clock", given));
    byId("time").addEventListener("click", ({ target }) => {
      const { speed, jump, pause, step } = target.dataset;
      if (speed) clock(`Speed ${target.textContent}`, { speed: speed === "auto" ? speed : Number(speed) });
      else if (jump) clock(`Jumped ${target.textContent.slice(1)} ahead`, { jump: Number(jump) });
      else if (step !== undefined) clock("Stepped to the next attempt", { step: true });
      else if (pause !== undefined) clock(this.clock.isPaused ? "Time runs" : "Time stands still", { isPaused: !this.clock.isPaused });
    });
    byId("receiver-button").addEventListener("click", () => {
      const isRunning = !this.receiver.isRunning;
      act(isRunning ? "Receiver started" : "Receiver stopped", () => send("POST", "/desk/receiver", { isRunning }));
    });
    byId("scenario-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = event.target.scenario.value;
      act(`Scenario ${name} started`, () => send("POST", `/desk/scenarios/${encodeURIComponent(name)}`));
    });
  }

  /** Show a frame. */
  render({ clock, faults, allFaults, scenarios, scenario, receiver }) {
    this.renderClock(clock);
    this.renderReceiver(receiver);
    this.renderFaults(allFaults, faults);
    this.renderScenarios(scenarios, scenario);
  }

  renderClock(clock) {
    this.clock = clock;
    setText(byId("clock"), `${day(clock.now)}, ${timeOfDay(clock.now)}`);
    setAttribute(byId("clock"), "title", utc(clock.now));
    setText(byId("factor"), clock.isPaused ? "paused" : `runs ${FACTOR.format(clock.factor)}×`);
    for (const button of byId("time").querySelectorAll("[data-speed]")) {
      const { speed } = button.dataset;
      const isOn = clock.isAuto ? speed === "auto" : Number(speed) === clock.speed;
      setAttribute(button, "aria-pressed", String(isOn));
    }
    const pause = byId("pause");
    setText(pause, clock.isPaused ? "Resume" : "Pause");
  }

  renderReceiver(receiver) {
    byId("receiver-section").hidden = !receiver;
    this.receiver = receiver;
    if (!receiver) return;
    setText(byId("receiver-state"), receiver.isRunning ? "✓ Running" : "◼ Stopped");
    setAttribute(byId("receiver-state"), "class", `pill kind-${receiver.isRunning ? "good" : "off"}`);
    setText(byId("receiver-url"), receiver.url ?? "");
    setAttribute(byId("receiver-url"), "href", /^http:\/\//.test(receiver.url ?? "") ? receiver.url : null);
    setText(byId("receiver-button"), receiver.isRunning ? "Stop the receiver" : "Start the receiver");
  }

  renderFaults(all, left) {
    for (const [name, text] of Object.entries(all)) {
      if (!this.faults.has(name)) this.addFault(name, text);
      const { state, off } = this.faults.get(name);
      const number = left[name] ?? 0;
      setText(state, number ? `▲ ${count(number)} to come` : "");
      off.hidden = !number;
    }
  }

  addFault(name, text) {
    const set = (what, number) => act(what, () => send("POST", `/desk/faults/${encodeURIComponent(name)}`, { count: number }));
    const times = () => Number(byId("fault-count").value) || 1;
    const state = make("span", { class: "kind-warn" });
    const off = make("button", { type: "button", class: "small", click: () => set(`Fault ${name} off`, 0) }, "Off");
    const on = make("button", { type: "button", class: "small", click: () => set(`Fault ${name}`, times()) }, name);
    byId("faults").append(make("li", {}, on, make("span", { class: "detail" }, text), state, off));
    this.faults.set(name, { state, off });
  }

  renderScenarios(scenarios, scenario) {
    const key = JSON.stringify(scenarios);
    if (key !== this.scenarios) {
      this.scenarios = key;
      byId("scenario").replaceChildren(...scenarios.map(({ name, title }) => make("option", { value: name }, title || name)));
    }
    byId("scenario-run").disabled = Boolean(scenario && !scenario.isDone);
    byId("scenario-progress").hidden = !scenario;
    if (!scenario) return;
    const { title, name, step, isDone, isMet, lines } = scenario;
    const [sign, kind] = !isDone ? ["…", "off"] : isMet ? ["✓", "good"] : ["✕", "bad"];
    setText(byId("scenario-step"), `${sign} ${title || name}: ${isDone ? (isMet ? "as expected" : "not as expected") : step}`);
    setAttribute(byId("scenario-step"), "class", `kind-${kind}`);
    setText(byId("scenario-lines"), (lines ?? []).join("\n"));
  }
}
