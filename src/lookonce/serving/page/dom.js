// Helpers that build DOM elements from text. No code of the page parses markup from strings: class names, file
// names and messages of the service are untrusted.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Return the element with this id; throw if it is missing.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/**
 * Create an element with attributes and children; strings become text nodes.
 * @param {string} tag
 * @param {Record<string, string | boolean | number | null>} [attributes] true: empty attribute; false and null: omitted
 * @param {...(Node | string | null)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Create an icon from a symbol in index.html. @param {string} name */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

/**
 * Sanitize text for display: no control or bidirectional characters, bounded length.
 * @param {unknown} value
 */
export function plain(value, most = 120) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  const clean = text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, " ").trim();
  return clean.length > most ? `${clean.slice(0, most - 1)}…` : clean;
}

/** Format a count: 1 image, 2 images. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
