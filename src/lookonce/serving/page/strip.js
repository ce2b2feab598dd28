// Thumbnails for switching between the images of the session.

import { byId, icon, make } from "./dom.js";
import { remove } from "./images.js";
import { on, shownIndices, show, state } from "./state.js";

const strip = byId("strip"), list = byId("thumbnails");

/** @type {Map<number, HTMLElement>} a list item for each image's id */
const items = new Map();

function fill() {
  const ids = new Set(state.images.map((image) => image.id));
  for (const [id, item] of items) {
    if (!ids.has(id)) {
      item.remove();
      items.delete(id);
    }
  }
  state.images.forEach((image, index) => {
    if (!items.has(image.id)) items.set(image.id, makeItem(image));
    const item = /** @type {HTMLElement} */ (items.get(image.id));
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    refresh(item, image);
  });
  strip.hidden = !state.images.length;
  byId("clear").hidden = state.images.length < 2;
}

function makeItem(image) {
  const badge = make("span", { class: "badge" });
  const choose = make("button", { type: "button", class: "thumbnail", "aria-keyshortcuts": "Delete" }, badge);
  choose.addEventListener("click", () => show(image));
  choose.addEventListener("keydown", (event) => move(event, image));
  const drop = make("button", { type: "button", class: "drop", title: "Remove", tabindex: "-1" }, icon("close"));
  drop.setAttribute("aria-label", `Remove ${image.name}`);
  drop.addEventListener("click", () => discard(image));
  return make("li", {}, choose, drop);
}

function refresh(item, image) {
  const choose = item.querySelector(".thumbnail");
  if (image.thumbnail && image.thumbnail.parentNode !== choose) choose.prepend(image.thumbnail);
  const found = image.status === "done" ? shownIndices(image).length : null;
  choose.querySelector(".badge").textContent = { failed: "!", done: String(found) }[image.status] ?? "";
  choose.dataset.status = image.status;
  choose.setAttribute("aria-current", String(image === state.current));
  const labels = { failed: "failed", done: `${found} shown`, busy: "in progress", waiting: "waiting" };
  choose.setAttribute("aria-label", `${image.name}, ${labels[image.status]}`);
  choose.title = image.name;
}

function move(event, image) {
  const index = state.images.indexOf(image), last = state.images.length - 1;
  if (event.key === "Delete") {
    event.preventDefault();
    discard(image);
    return;
  }
  const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
  const target = next === undefined ? null : state.images[Math.max(0, Math.min(last, next))];
  if (!target) return;
  event.preventDefault();
  items.get(target.id)?.querySelector("button")?.focus();
  show(target);
}

function discard(image) {
  const index = state.images.indexOf(image);
  const focused = items.get(image.id)?.contains(document.activeElement);
  remove(image);
  const next = state.images[Math.min(index, state.images.length - 1)];
  if (focused) (next ? items.get(next.id)?.querySelector("button") : byId("choose"))?.focus();
}

on("images", fill);
on("filters", fill);
on("current", () => {
  fill();
  items.get(state.current?.id ?? -1)?.scrollIntoView({ block: "nearest", inline: "nearest" });
});
