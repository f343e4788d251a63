/** Requests to the desk, and the status line that says what came of them. */

import { byId, copy, setText } from "./dom.js";

/** Read JSON. */
export async function read(path) {
  return answerOf(await fetch(path));
}

/** Change something. */
export async function send(method, path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetch(path, { method, headers, body: JSON.stringify(body) }));
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The answer was ${response.status}.`);
  return answer;
}

/** Run a button's request, and show what it did with the command that does the same; return the answer, or null. */
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

/** Say something in the status line. */
export function report(text, command = null, isError = false) {
  const line = byId("status");
  line.hidden = false;
  line.classList.toggle("is-error", isError);
  setText(byId("status-text"), isError ? `✕ ${text}` : `✓ ${text}`);
  setText(byId("status-command"), command ?? "");
  byId("status-command").hidden = byId("status-copy").hidden = !command;
}

/** Make the status line's buttons work. */
export function prepareStatus() {
  byId("status-copy").addEventListener("click", (event) => copy(byId("status-command").textContent, event.target));
  byId("status-close").addEventListener("click", () => (byId("status").hidden = true));
}
