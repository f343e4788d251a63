/** The details of a delivery: requests, answers and times. */

import { byId, copy, make, setText } from "./dom.js";
import { outcome } from "./deliveries.js";
import { day, latency, pretty, timeOfDay, utc } from "./format.js";
import { act, read, report, send } from "./requests.js";
import { timeline } from "./timeline.js";
import { reason } from "./words.js";

let shown = null;

/** Set up the dialog's buttons; `onClose` runs when it is closed. */
export function prepareDelivery(onClose) {
  const dialog = byId("delivery");
  byId("delivery-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    shown = null;
    history.replaceState(null, "", location.pathname);
    onClose();
  });
  byId("delivery-curl").addEventListener("click", (event) => copy(curl(shown), event.target));
  byId("delivery-resend").addEventListener("click", async () => {
    const { id } = shown;
    await act("Resent", () => send("POST", `/desk/deliveries/${id}:resend`));
    setTimeout(() => refresh(id), 300);
  });
}

/** Show a delivery by its number. */
export async function showDelivery(id) {
  let document;
  try {
    document = await read(`/desk/deliveries/${id}`);
  } catch (error) {
    report(`Delivery ${id}: ${error.message}`, null, true);
    return;
  }
  byId("delivery-attempts").replaceChildren();
  render(document);
  history.replaceState(null, "", `#delivery=${id}`);
  if (!byId("delivery").open) byId("delivery").showModal();
}

/** Reload a delivery if it is shown. */
export async function refresh(id) {
  if (shown?.id !== id) return;
  const document = await read(`/desk/deliveries/${id}`).catch(() => null);
  if (document && shown?.id === id) render(document);
}

function render(document) {
  shown = document;
  const { sign, word } = outcome(document);
  setText(byId("delivery-title"), `${document.eventType} from ${document.name || document.device}`);
  byId("delivery-facts").replaceChildren(
    ...facts({
      Outcome: `${sign} ${word}`,
      Published: `${day(document.published)} ${timeOfDay(document.published)} (${utc(document.published)})`,
      "Next attempt": document.due && `${timeOfDay(document.due)} (${utc(document.due)})`,
      Device: document.device,
      "Event id": document.eventId,
      URL: document.url ?? "the connector is deleted",
    }),
  );
  byId("delivery-timeline").replaceChildren(timeline(document));
  setText(byId("delivery-body"), pretty(document.body));
  const waits = document.state === "waiting";
  byId("delivery-resend").disabled = !waits;
  byId("delivery-resend").title = waits ? "Attempt it now" : "Only a waiting delivery can be attempted now";
  byId("delivery-curl").disabled = !document.url;
  addAttempts(document.attempts);
}

/** Add new attempts, the newest on top and expanded, without changing the others. */
function addAttempts(attempts) {
  const list = byId("delivery-attempts");
  const known = new Set([...list.children].map((each) => each.dataset.number));
  for (const each of attempts) {
    if (known.has(String(each.number))) continue;
    for (const other of list.children) other.open = false;
    list.prepend(attemptNode(each));
  }
}

function attemptNode({ number, started, seconds, status, note, headers, tokens, answer }) {
  const parts = [status ?? reason(note), latency(seconds), status === null ? null : note].filter(Boolean).join(" · ");
  const summary = make("summary", {}, `Attempt ${number} · ${timeOfDay(started)} · ${parts}`);
  summary.title = utc(started);
  return make(
    "details",
    { open: true, "data-number": number },
    summary,
    make("h4", {}, "Headers"),
    make("dl", { class: "facts" }, ...facts(headers)),
    ...Object.entries(tokens).flatMap(([name, token]) => [make("h4", {}, `${name}, decoded`), block(pretty(token))]),
    make("h4", {}, "Answer"),
    block(answer ? pretty(answer) : "empty"),
  );
}

const block = (text) => make("pre", { tabindex: 0 }, text);

function facts(values) {
  return Object.entries(values)
    .filter(([, value]) => value != null)
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
}

/** Return the last attempt as a command for a POSIX shell, with the exact body, which the checksum covers. */
function curl({ url, body, attempts }) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const headers = { "Content-Type": "application/json", ...attempts.at(-1)?.headers };
  const options = Object.entries(headers).map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`);
  return ["curl -i", ...options, `--data-binary ${quote(body)}`, quote(url)].join(" \\\n  ");
}
