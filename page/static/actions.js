// Requests of the page's buttons. Each shows the command that does the same.

import { byId, setText } from "./dom.js";

/** Send a request, and say below the header what it did; return the answer, or null if it was refused. */
export async function act(method, path, given, command) {
  try {
    const response = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: given === undefined ? undefined : JSON.stringify(given),
    });
    const answer = await response.json();
    if (!response.ok) {
      say(`${answer.error ?? response.status}`, "", true);
      return null;
    }
    say("Done. The same by a command:", answer.command ?? command ?? "");
    return answer;
  } catch {
    say("The cloud does not answer.", "", true);
    return null;
  }
}

/** Show a sentence and a command that can be copied. */
export function say(text, command = "", isError = false) {
  const line = byId("said");
  if (!line) return;
  line.hidden = false;
  line.classList.toggle("bad", isError);
  setText(byId("said-text"), command || isError ? text : "Done.");
  setText(byId("said-command"), command);
  byId("said-command").hidden = byId("said-copy").hidden = !command;
}

/** Copy a text, and let a button say so. */
export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  setText(button, "Copied");
  setTimeout(() => setText(button, before), 1500);
}

/** Write a value for a shell. */
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
