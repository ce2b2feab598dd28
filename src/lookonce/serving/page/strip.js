// Thumbnails of the session's pictures, to switch between them.

import { byId, icon, make } from "./dom.js";
import { remove } from "./pictures.js";
import { on, shownIndices, show, state } from "./state.js";

const strip = byId("strip"), list = byId("thumbnails");

/** @type {Map<number, HTMLElement>} a list item for each picture's id */
const items = new Map();

function fill() {
  const ids = new Set(state.pictures.map((picture) => picture.id));
  for (const [id, item] of items) {
    if (!ids.has(id)) {
      item.remove();
      items.delete(id);
    }
  }
  state.pictures.forEach((picture, index) => {
    if (!items.has(picture.id)) items.set(picture.id, makeItem(picture));
    const item = /** @type {HTMLElement} */ (items.get(picture.id));
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    refresh(item, picture);
  });
  strip.hidden = !state.pictures.length;
  byId("clear").hidden = state.pictures.length < 2;
}

function makeItem(picture) {
  const badge = make("span", { class: "badge" });
  const choose = make("button", { type: "button", class: "thumbnail", "aria-keyshortcuts": "Delete" }, badge);
  choose.addEventListener("click", () => show(picture));
  choose.addEventListener("keydown", (event) => move(event, picture));
  const drop = make("button", { type: "button", class: "drop", title: "Remove", tabindex: "-1" }, icon("close"));
  drop.setAttribute("aria-label", `Remove ${picture.name}`);
  drop.addEventListener("click", () => forget(picture));
  return make("li", {}, choose, drop);
}

function refresh(item, picture) {
  const choose = item.querySelector(".thumbnail");
  if (picture.thumbnail && picture.thumbnail.parentNode !== choose) choose.prepend(picture.thumbnail);
  const found = picture.status === "done" ? shownIndices(picture).length : null;
  choose.querySelector(".badge").textContent = { failed: "!", done: String(found) }[picture.status] ?? "";
  choose.dataset.status = picture.status;
  choose.setAttribute("aria-current", String(picture === state.current));
  const told = { failed: "failed", done: `${found} shown`, busy: "being looked at", waiting: "waiting" };
  choose.setAttribute("aria-label", `${picture.name}, ${told[picture.status]}`);
  choose.title = picture.name;
}

function move(event, picture) {
  const index = state.pictures.indexOf(picture), last = state.pictures.length - 1;
  if (event.key === "Delete") {
    event.preventDefault();
    forget(picture);
    return;
  }
  const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
  const target = next === undefined ? null : state.pictures[Math.max(0, Math.min(last, next))];
  if (!target) return;
  event.preventDefault();
  items.get(target.id)?.querySelector("button")?.focus();
  show(target);
}

function forget(picture) {
  const index = state.pictures.indexOf(picture);
  const focused = items.get(picture.id)?.contains(document.activeElement);
  remove(picture);
  const next = state.pictures[Math.min(index, state.pictures.length - 1)];
  if (focused) (next ? items.get(next.id)?.querySelector("button") : byId("choose"))?.focus();
}

on("pictures", fill);
on("filters", fill);
on("current", () => {
  fill();
  items.get(state.current?.id ?? -1)?.scrollIntoView({ block: "nearest", inline: "nearest" });
});
