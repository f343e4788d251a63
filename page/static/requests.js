/** Requests to the desk, and the status line with their results. */

import { byId, copy, setText } from "./dom.js";

/** Get JSON. */
export async function read(path) {
  return answerOf(await fetch(path));
}

/** Send a change. */
export async function send(method, path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetch(path, { method, headers, body: JSON.stringify(body) }));
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The answer was ${response.status}.`);
  return answer;
}

/** Run a button's request, and show its result and the equivalent command; return the answer, or null. */
export async function act(what, request) {
  try {
    const answer = await request();
    report(what, answer.command);
    return answer;
  } catch (error) {
    report(`${what}: ${error instanceof TypeError ? "DT Cloud cannot be reached." : error.message}`, null, true);
    return null;
  }
}

/** Show a text in the status line. */
export function report(text, command = null, isError = false) {
  const line = byId("status");
  line.hidden = false;
  line.classList.toggle("is-error", isError);
  setText(byId("status-text"), isError ? `✕ ${text}` : `✓ ${text}`);
  setText(byId("status-command"), command ?? "");
  byId("status-command").hidden = byId("status-copy").hidden = !command;
}

/** Set up the status line's buttons. */
export function prepareStatus() {
  byId("status-copy").addEventListener("click", (event) => copy(byId("status-command").textContent, event.target));
  byId("status-close").addEventListener("click", () => (byId("status").hidden = true));
}
