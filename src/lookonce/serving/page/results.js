// The detections as a table, best score first; rows and boxes point at each other.

import { byId, make, plain } from "./dom.js";
import { colourOfLabel } from "./drawing.js";
import { css } from "./palette.js";
import { highlight, isShown, on, state } from "./state.js";

const body = byId("rows"), summary = byId("summary");

/** @type {any} the answer whose rows are in the table */
let filled = null;
let focused = 0;

/**
 * Left, top, width and height in whole pixels of the image.
 * @param {import("./state.js").Corners} box @param {{width: number, height: number}} size
 */
export function inPixels({ topX, topY, bottomX, bottomY }, { width, height }) {
  const [left, top] = [Math.round(topX * width), Math.round(topY * height)];
  return [left, top, Math.round(bottomX * width) - left, Math.round(bottomY * height) - top];
}

function fill() {
  const answer = state.current?.answer ?? null;
  if (answer !== filled) {
    // A new frame of the camera must not take the focus from the row that is being read.
    const hadFocus = body.contains(document.activeElement);
    filled = answer;
    body.replaceChildren(...(answer?.boxes ?? []).map((detection, index) => row(detection, index, answer)));
    filter();
    if (hadFocus) (rows()[Math.min(focused, rows().length - 1)] ?? byId("threshold")).focus();
  }
  filter();
}

function row(detection, index, answer) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = css(colourOfLabel(detection.label));
  const [left, top, wide, high] = inPixels(detection.box, answer);
  const made = make(
    "tr",
    { tabindex: "-1", "data-index": index },
    make("td", { class: "label" }, swatch, make("span", { class: "name" }, plain(detection.label))),
    make("td", { class: "score" }, detection.score.toFixed(2)),
    make("td", { class: "box" }, `${left}, ${top}`),
    make("td", { class: "box" }, `${wide} × ${high}`),
  );
  made.addEventListener("pointerenter", () => highlight(index));
  made.addEventListener("pointerleave", () => highlight(null));
  made.addEventListener("focus", () => {
    focused = rows().indexOf(made);
    stop(made);
    highlight(index);
  });
  made.addEventListener("blur", () => highlight(null));
  return made;
}

function rows() {
  return [...body.children].filter((one) => !one.hidden);
}

function filter() {
  const boxes = filled?.boxes ?? [];
  for (const one of body.children) one.hidden = !isShown(boxes[Number(one.dataset.index)]);
  const visible = rows();
  stop(visible.find((one) => one.tabIndex === 0) ?? visible[0]);
  byId("no-rows").hidden = !filled || visible.length > 0;
  byId("no-rows").textContent = boxes.length
    ? "Nothing passes the filters. Lower the confidence or switch classes on."
    : "The model found nothing here.";
  byId("table").hidden = !visible.length;
  const most = state.model?.limits.detections;
  const full = boxes.length && boxes.length >= most ? `; the service answers at most ${most}` : "";
  summary.textContent = filled ? `${visible.length} of ${boxes.length} boxes${full}` : "";
}

/** Scroll the table alone: the page must not jump while the pointer is over the image. */
function reveal(one) {
  const table = byId("table"), head = table.querySelector("thead").offsetHeight;
  const top = one.offsetTop - head, bottom = one.offsetTop + one.offsetHeight - table.clientHeight;
  if (table.scrollTop > top) table.scrollTop = top;
  else if (table.scrollTop < bottom) table.scrollTop = bottom;
}

/** Tab reaches one row; the arrows go on from there. */
function stop(chosen) {
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
    const wanted = Number(one.dataset.index) === state.highlighted;
    one.classList.toggle("highlighted", wanted);
    if (wanted) reveal(one);
  }
});
