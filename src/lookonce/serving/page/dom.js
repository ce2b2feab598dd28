// Elements made from text. Nothing here, and nothing elsewhere on the page, reads markup out of a string:
// class names, file names and messages of the service may hold any text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * The element with this id; a missing one is a fault of the page.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/**
 * A new element with attributes and children; strings become text nodes.
 * @param {string} tag
 * @param {Record<string, string | boolean | number | null>} [attributes] true sets an empty one, false and null none
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

/** One of the symbols in index.html, @param {string} name */
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
 * Text for people: no control characters, no change of writing direction, bounded.
 * @param {unknown} value
 */
export function plain(value, most = 120) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  const clean = text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, " ").trim();
  return clean.length > most ? `${clean.slice(0, most - 1)}…` : clean;
}

/** 1 image, 2 images. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
