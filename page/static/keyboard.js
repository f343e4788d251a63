/** The keys: j and k, Enter, Escape, / and ?; and the help that names them. */

import { byId, make } from "./dom.js";

/**
 * Listen; `list` is a HeldList of what `noun` names.
 *
 * `open(item)` shows one, where there is more to show; `note` is a sentence more in the help.
 */
export function prepareKeyboard(list, noun, open = null, note = "") {
  const help = makeHelp(noun, open !== null, note);
  document.body.append(help);
  byId("help-button").addEventListener("click", () => help.showModal());
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

function makeHelp(noun, canOpen, note) {
  const keys = [
    ["j k", `next, previous ${noun}`],
    canOpen && ["Enter", "show it"],
    ["Esc", `${canOpen ? "close, and " : ""}follow the newest again`],
    ["/", "filter by device"],
    ["?", "this help"],
  ];
  const kbd = (names) => names.split(" ").flatMap((name) => [make("kbd", {}, name), " "]);
  const rows = keys.filter(Boolean).map(([names, text]) =>
    make("div", {}, make("dt", {}, ...kbd(names)), make("dd", {}, text)),
  );
  const text = "The list holds still while the pointer or the focus is in it, or a row is selected. " +
    `Times are local; hover for UTC. ${note}`;
  const close = () => help.close();
  const help = make("dialog", { id: "help", "aria-labelledby": "help-title" },
    make("header", {},
      make("h2", { id: "help-title" }, "Keys"),
      make("button", { type: "button", "aria-label": "Close", click: close }, "✕"),
    ),
    make("dl", { class: "keys" }, ...rows),
    make("p", { class: "detail" }, text),
  );
  return help;
}
