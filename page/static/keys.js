// The keyboard: j and k move, Enter opens, Escape closes, / filters, ? helps.

import { byId } from "./dom.js";

/** Listen; `list` has `move(step)`, `open()` and `leave()`. */
export function offerKeys({ move, open, leave }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, textarea, select");
    if (event.key === "Escape") {
      document.activeElement.blur();
      leave();
      return;
    }
    if (isTyping) return;
    const does = { j: () => move(1), k: () => move(-1), "/": () => byId("delivery-filter").focus(), "?": () => byId("help").showModal() };
    if (event.key === "Enter" && event.target.closest("#deliveries")) does.Enter = open;
    if (!does[event.key]) return;
    event.preventDefault();
    does[event.key]();
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close")?.addEventListener("click", () => dialog.close());
    // A click beside it.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}
