/** A table of the newest rows that does not move while somebody reads it. */

import { make, setAttribute, setText } from "./dom.js";
import { count, plural } from "./format.js";

const MAX_ROWS = 200;

/**
 * The newest rows on top; their nodes are reused.
 *
 * Takes the elements `body` (a tbody), `scroller` around it, `fresh` (the button that says "n new") and `summary`; how
 * many `columns` a row has; `fill(cells, item)`, which writes a row; `accepts(item)`, the filter; and `open(item)`, for
 * a row that is clicked.
 */
export class HeldList {
  constructor({ body, scroller, fresh, summary, columns, fill, accepts, open }) {
    Object.assign(this, { body, scroller, fresh, summary, columns, fill, accepts, open });
    this.rows = new Map();
    this.pending = new Map();
    this.selected = null;
    this.isHovered = false;
    this.isOlder = false;
    this.unlisted = 0;
    scroller.addEventListener("pointerenter", () => (this.isHovered = true));
    scroller.addEventListener("pointerleave", () => this.leave());
    scroller.addEventListener("focusout", () => setTimeout(() => this.flush()));
    scroller.addEventListener("scroll", () => this.flush(), { passive: true });
    body.addEventListener("click", (event) => this.clicked(event));
    fresh.addEventListener("click", () => this.goLive());
  }

  /** Whether somebody reads: the pointer or focus is in the list, it is scrolled, or a row is selected. */
  isHeld() {
    return this.isHovered || this.isOlder || this.selected !== null || this.scroller.scrollTop > 4 ||
      this.scroller.contains(document.activeElement);
  }

  /** Add items with a `key`, oldest first; `skipped` more were not sent. */
  add(items, skipped = 0) {
    this.unlisted += skipped;
    for (const item of items) {
      if (!this.accepts(item)) continue;
      this.pending.delete(item.key);
      this.pending.set(item.key, item);
    }
    for (const key of this.pending.keys()) {
      if (this.pending.size <= MAX_ROWS) break;
      this.pending.delete(key);
      this.unlisted += 1;
    }
  }

  /** Update an item in place, if it is listed. */
  change(item) {
    const row = this.rows.get(item.key);
    if (row) this.write(row, item);
    if (this.pending.has(item.key)) this.pending.set(item.key, item);
  }

  /** Show new items, unless somebody reads. */
  flush() {
    if (!this.isHeld()) {
      for (const item of this.pending.values()) this.insert(item);
      this.pending.clear();
    }
    this.fresh.hidden = !this.pending.size;
    setText(this.fresh, `↑ ${count(this.pending.size)} new`);
    const rest = this.unlisted ? `, ${count(this.unlisted)} more not listed` : "";
    setText(this.summary, `${plural(this.rows.size, "row")}${rest}${this.isHeld() ? " · holding still" : ""}`);
  }

  /** Append older items, newest first; then the list does not move. */
  append(items) {
    this.isOlder = true;
    for (const item of items) {
      if (!this.accepts(item) || this.rows.has(item.key)) continue;
      const row = this.newRow();
      this.body.append(row);
      this.rows.set(item.key, row);
      this.write(row, item);
    }
  }

  /** Delete all items. */
  clear() {
    this.rows.clear();
    this.pending.clear();
    this.body.replaceChildren();
    this.selected = null;
    this.isOlder = false;
    this.unlisted = 0;
    this.scroller.scrollTop = 0;
  }

  /** Stop reading, and show the newest. */
  goLive() {
    this.select(null);
    this.isOlder = false;
    this.isHovered = false;
    if (this.scroller.contains(document.activeElement)) document.activeElement.blur();
    this.scroller.scrollTop = 0;
    this.flush();
  }

  /** Select the row `step` rows further; return its item. */
  move(step) {
    const rows = [...this.body.children];
    const at = rows.findIndex((row) => row.item.key === this.selected);
    const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step))];
    if (!next) return null;
    this.select(next.item.key);
    next.querySelector("button").focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
    return next.item;
  }

  /** Select a row by its key, or none. */
  select(key) {
    this.rows.get(this.selected)?.classList.remove("is-selected");
    this.selected = key;
    this.rows.get(key)?.classList.add("is-selected");
  }

  leave() {
    this.isHovered = false;
    this.flush();
  }

  clicked(event) {
    const row = event.target.closest("tr");
    if (!row || getSelection()?.type === "Range") return;
    this.select(row.item.key);
    this.open?.(row.item);
  }

  insert(item) {
    let row = this.rows.get(item.key);
    if (!row && this.rows.size >= MAX_ROWS) {
      row = this.body.lastElementChild;
      this.rows.delete(row.item.key);
      this.unlisted += 1;
    }
    row ??= this.newRow();
    this.rows.set(item.key, row);
    this.body.prepend(row);
    this.write(row, item);
  }

  newRow() {
    return make("tr", {}, ...Array.from({ length: this.columns }, () => make("td")));
  }

  write(row, item) {
    row.item = item;
    this.fill(row.children, item);
    setAttribute(row, "class", item.key === this.selected ? "is-selected" : null);
  }
}
