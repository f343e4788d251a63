// One delivery in full: what was sent, what came back, and each attempt.

import { act, copy, quoted } from "./actions.js";
import { byId, h } from "./dom.js";
import { dateTime, latency, outcome } from "./format.js";
import { timeline } from "./plots.js";

/** Show a delivery in a dialog. */
export async function showDelivery({ id }) {
  const dialog = byId("delivery");
  const response = await fetch(`/desk/deliveries/${id}`);
  const delivery = await response.json();
  const body = response.ok ? detail(delivery) : [h("p", {}, delivery.error)];
  byId("delivery-body").replaceChildren(...body);
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", `#delivery-${id}`);
}

function detail(delivery) {
  const last = delivery.attempts.at(-1);
  const { mood, sign, word } = outcome({ ...delivery, status: last ? last.status : undefined });
  const resend = h("button", { onclick: () => act("POST", `/desk/deliveries/${delivery.id}:resend`, {}) }, "Resend now");
  const curl = h("button", {}, "Copy as cURL");
  curl.addEventListener("click", () => copy(asCurl(delivery, last), curl));
  return [
    h("p", { "data-mood": mood }, h("strong", { class: "badge" }, `${sign} ${word}`), ` ${delivery.eventType} of ${delivery.name || delivery.device}, published ${dateTime(delivery.published)}`),
    h("p", { class: "id" }, `event ${delivery.eventId}, device ${delivery.device}, delivery ${delivery.id}`),
    h("div", { class: "buttons" }, delivery.state === "waiting" && resend, last && curl),
    h("h3", {}, delivery.attempts.length === 1 ? "1 attempt" : `${delivery.attempts.length} attempts`),
    delivery.attempts.length > 0 && timeline(delivery.attempts, `${delivery.attempts.length} attempts on a line of time`),
    h("ol", { class: "attempts" }, ...delivery.attempts.map(attempt)),
    h("h3", {}, "Body"),
    h("pre", { tabindex: 0 }, pretty(delivery.body)),
  ].filter(Boolean);
}

function attempt(each) {
  const answer = each.status === null ? each.note : `${each.status}${each.note ? `, ${each.note}` : ""}`;
  const tokens = Object.entries(each.tokens).map(([name, { header, claims }]) => block(`${name}, decoded`, JSON.stringify({ header, claims }, null, 2)));
  const headers = Object.entries(each.headers).map(([name, value]) => `${name}: ${value}`).join("\n");
  return h(
    "li",
    {},
    h("details", {}, h("summary", {}, `${dateTime(each.started)}: ${answer}, ${latency(each.seconds)}`), block("Headers", headers), ...tokens, block("Answer", pretty(each.answer) || "nothing")),
  );
}

const block = (title, text) => h("div", {}, h("h4", {}, title), h("pre", { tabindex: 0 }, text));

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function asCurl(delivery, last) {
  const headers = Object.entries({ "Content-Type": "application/json", ...last.headers }).map(([name, value]) => ` \\\n  -H ${quoted(`${name}: ${value}`)}`);
  return `curl -X POST ${quoted(delivery.url ?? "http://127.0.0.1:8000")}${headers.join("")} \\\n  --data-binary ${quoted(delivery.body)}`;
}
