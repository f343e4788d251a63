/** The keys: j and k, Enter, Escape, / and ?. */

import { byId } from "./dom.js";

/** Listen; `list` is a HeldList, `open(item)` shows one. */
export function prepareKeyboard(list, open) {
  const help = byId("help");
  byId("help-button").addEventListener("click", () => help.showModal());
  byId("help-close").addEventListener("click", () => help.close());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.closest("input, textarea, select");
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      document.activeElement?.blur();
      list.goLive();
    }
    if (isTyping) return;
    const detail = byId("delivery");
    const isElsewhere = [...document.querySelectorAll("dialog[open]")].some((each) => each !== detail);
    if (isElsewhere) return;
    if (event.key === "j" || event.key === "k") {
      const item = list.move(event.key === "j" ? 1 : -1);
      if (item && detail?.open) open(item);
      event.preventDefault();
    } else if (event.key === "/" && !detail?.open) {
      byId("filter").device.focus();
      event.preventDefault();
    } else if (event.key === "?" && !detail?.open) {
      help.showModal();
    }
  });
}
