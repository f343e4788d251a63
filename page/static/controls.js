// Time, faults, scenarios and the receiver.

import { act } from "./actions.js";
import { byId, h, keyed, setText } from "./dom.js";
import { count } from "./format.js";

const SPEEDS = [1, 10, 60, 600, 3600];
const JUMPS = [["1 h", 3600], ["12 h", 43200], ["1 d", 86400]];

/** Make the buttons of the clock. */
export function offerClock() {
  const button = (text, given, title) => h("button", { title, onclick: () => act("POST", "/desk/clock", given) }, text);
  byId("clock-buttons").append(
    h("button", { id: "pause", onclick: (event) => act("POST", "/desk/clock", { isPaused: event.currentTarget.dataset.paused !== "yes" }) }, "Pause"),
    button("Step", { step: true }, "Jump to the next attempt"),
    ...JUMPS.map(([text, seconds]) => button(`+ ${text}`, { jump: seconds }, `Jump ${text} ahead`)),
  );
  byId("speed-buttons").append(
    ...SPEEDS.map((speed) => h("button", { "data-speed": speed, onclick: () => act("POST", "/desk/clock", { speed }) }, `${count(speed)} ×`)),
    h("button", { "data-speed": "auto", onclick: () => act("POST", "/desk/clock", { speed: "auto" }) }, "auto"),
  );
}

/** Bring all of it up to date. */
export function showControls(frame) {
  const { clock } = frame;
  const pause = byId("pause");
  pause.dataset.paused = clock.isPaused ? "yes" : "no";
  setText(pause, clock.isPaused ? "Resume" : "Pause");
  for (const button of byId("speed-buttons").children) {
    const isOn = clock.isAuto ? button.dataset.speed === "auto" : Number(button.dataset.speed) === clock.wanted;
    button.setAttribute("aria-pressed", String(isOn));
  }
  showFaults(frame);
  showScenarios(frame);
  showReceiver(frame.receiver);
}

function showFaults({ allFaults = {}, faults }) {
  byId("faults-section").hidden = !Object.keys(allFaults).length;
  keyed(
    byId("faults"),
    Object.entries(allFaults),
    ([name]) => name,
    ([name, text]) =>
      h("li", {}, h("button", { onclick: () => act("POST", `/desk/faults/${name}`, { count: Number(byId("fault-count").value) || 1 }) }, name), h("span", {}, ` ${text}`), h("strong", { class: "left" })),
    (node, [name]) => setText(node.querySelector(".left"), faults[name] ? ` ${count(faults[name])} to come` : ""),
  );
}

function showScenarios({ scenarios = [], scenario }) {
  byId("scenarios-section").hidden = !scenarios.length;
  const isRunning = Boolean(scenario && !scenario.isDone);
  keyed(
    byId("scenarios"),
    scenarios,
    ({ name }) => name,
    ({ name, title }) => h("li", {}, h("button", { onclick: () => act("POST", `/desk/scenarios/${name}`, {}) }, name), h("span", {}, ` ${title}`)),
    (node) => (node.querySelector("button").disabled = isRunning),
  );
  const story = byId("scenario");
  story.hidden = !scenario;
  if (!scenario) return;
  const end = scenario.isDone ? (scenario.isMet ? "✓ everything as expected" : "✕ not as expected") : "running";
  story.dataset.mood = scenario.isDone ? (scenario.isMet ? "good" : "bad") : "wait";
  setText(byId("scenario-title"), `${scenario.title}: ${end}`);
  setText(byId("scenario-lines"), scenario.lines.join("\n"));
}

function showReceiver(receiver) {
  byId("receiver-section").hidden = !receiver;
  if (!receiver) return;
  const button = byId("receiver-button");
  setText(byId("receiver-state"), receiver.isRunning ? "The receiver runs." : "The receiver is stopped; events wait for it.");
  setText(button, receiver.isRunning ? "Stop the receiver" : "Start the receiver");
  button.onclick = () => act("POST", "/desk/receiver", { isRunning: !receiver.isRunning });
  byId("receiver-link").href = receiver.url;
}
