// The table of detections, best score first; rows and boxes highlight each other.

import { byId, make, plain } from "./dom.js";
import { colourOfLabel } from "./drawing.js";
import { css } from "./palette.js";
import { highlight, isShown, on, state } from "./state.js";

const body = byId("rows"), summary = byId("summary");

/** @type {any} the result shown in the table */
let filled = null;
let focused = 0;

/**
 * Convert a box to left, top, width and height in whole pixels.
 * @param {import("./state.js").Corners} box @param {{width: number, height: number}} size
 */
export function inPixels({ topX, topY, bottomX, bottomY }, { width, height }) {
  const [left, top] = [Math.round(topX * width), Math.round(topY * height)];
  return [left, top, Math.round(bottomX * width) - left, Math.round(bottomY * height) - top];
}

function fill() {
  const result = state.current?.result ?? null;
  if (result !== filled) {
    // A new camera frame must not steal the focus from a row.
    const hadFocus = body.contains(document.activeElement);
    filled = result;
    body.replaceChildren(...(result?.boxes ?? []).map((detection, index) => row(detection, index, result)));
    filter();
    if (hadFocus) (rows()[Math.min(focused, rows().length - 1)] ?? byId("threshold")).focus();
  }
  filter();
}

function row(detection, index, result) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = css(colourOfLabel(detection.label));
  const [left, top, wide, high] = inPixels(detection.box, result);
  const element = make(
    "tr",
    { tabindex: "-1", "data-index": index },
    make("td", { class: "label" }, swatch, make("span", { class: "name" }, plain(detection.label))),
    make("td", { class: "score" }, detection.score.toFixed(2)),
    make("td", { class: "box" }, `${left}, ${top}`),
    make("td", { class: "box" }, `${wide} × ${high}`),
  );
  element.addEventListener("pointerenter", () => highlight(index));
  element.addEventListener("pointerleave", () => highlight(null));
  element.addEventListener("focus", () => {
    focused = rows().indexOf(element);
    setTabStop(element);
    highlight(index);
  });
  element.addEventListener("blur", () => highlight(null));
  return element;
}

function rows() {
  return [...body.children].filter((one) => !one.hidden);
}

function filter() {
  const boxes = filled?.boxes ?? [];
  for (const one of body.children) one.hidden = !isShown(boxes[Number(one.dataset.index)]);
  const visible = rows();
  setTabStop(visible.find((one) => one.tabIndex === 0) ?? visible[0]);
  byId("no-rows").hidden = !filled || visible.length > 0;
  byId("no-rows").textContent = boxes.length
    ? "No detection passes the filters. Lower the confidence or enable classes."
    : "No objects detected.";
  byId("table").hidden = !visible.length;
  const most = state.model?.limits.detections;
  const full = boxes.length && boxes.length >= most ? `; the service returns at most ${most}` : "";
  summary.textContent = filled ? `${visible.length} of ${boxes.length} boxes${full}` : "";
}

/** Scroll only the table: the page must not jump while the pointer is over the image. */
function reveal(one) {
  const table = byId("table"), head = table.querySelector("thead").offsetHeight;
  const top = one.offsetTop - head, bottom = one.offsetTop + one.offsetHeight - table.clientHeight;
  if (table.scrollTop > top) table.scrollTop = top;
  else if (table.scrollTop < bottom) table.scrollTop = bottom;
}

/** Make one row reachable by Tab; arrow keys move from there. */
function setTabStop(chosen) {
  for (const one of body.children) one.tabIndex = one === chosen ? 0 : -1;
}

body.addEventListener("keydown", (event) => {
  const all = rows(), here = all.indexOf(document.activeElement);
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  if (here < 0 || next === undefined) return;
  event.preventDefault();
  all[Math.max(0, Math.min(all.length - 1, next))].focus();
});

on("current", fill);
on("model", fill);
on("filters", filter);
on("highlight", () => {
  for (const one of body.children) {
    const highlighted = Number(one.dataset.index) === state.highlighted;
    one.classList.toggle("highlighted", highlighted);
    if (highlighted) reveal(one);
  }
});
