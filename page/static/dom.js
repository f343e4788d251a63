// Elements. Whatever comes from outside is set as text, and never as markup.

/** Make an element with attributes, listeners (`onclick`) and children. */
export function h(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return the element of an id. */
export const byId = (id) => document.getElementById(id);

/** Set a text, if it is another one: a screen reader and a selection are not disturbed otherwise. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Have one child of `parent` for each item, in their order, and use what is there again.
 * `make(item)` returns a node, `update(node, item)` brings it up to date.
 */
export function keyed(parent, items, keyOf, make, update) {
  parent.keyed ??= new Map();
  const left = new Map(parent.keyed);
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = left.get(key);
    left.delete(key);
    if (!node) {
      node = make(item);
      parent.keyed.set(key, node);
    }
    update(node, item);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const [key, node] of left) {
    node.remove();
    parent.keyed.delete(key);
  }
}
