// The confidence slider and class chips, which filter the current result without a request.

import { byId, make, plain } from "./dom.js";
import { colourOfLabel } from "./drawing.js";
import { css } from "./palette.js";
import { LOWEST_SCORE, changed, on, state } from "./state.js";

const slider = byId("threshold"), output = byId("threshold-value"), chips = byId("chips"), marks = byId("marks");

function startAt(threshold) {
  slider.value = String(threshold);
  // The slider rounds and clamps the value.
  state.threshold = Number(slider.value);
  showValue();
}

function showValue() {
  output.textContent = state.threshold.toFixed(2);
  slider.setAttribute("aria-valuetext", `scores of at least ${state.threshold.toFixed(2)}`);
}

function fill() {
  const boxes = state.current?.result?.boxes ?? [];
  const counts = new Map();
  for (const { label, score } of boxes) {
    counts.set(label, (counts.get(label) ?? 0) + (score >= state.threshold ? 1 : 0));
  }
  const visible = [...counts].filter(([label, number]) => number > 0 || state.hidden.has(label));
  const kept = new Map([...chips.children].map((chip) => [chip.dataset.label, chip]));
  // Reuse the buttons, to keep the focus.
  const next = visible.map(([label, number]) => {
    const chip = kept.get(label) ?? makeChip(label);
    chip.querySelector(".count").textContent = String(number);
    chip.setAttribute("aria-pressed", String(!state.hidden.has(label)));
    return chip;
  });
  if (next.length !== chips.children.length || next.some((chip, index) => chip !== chips.children[index])) {
    const focused = document.activeElement;
    chips.replaceChildren(...next);
    if (focused instanceof HTMLElement && next.includes(focused)) focused.focus();
  }
  byId("classes").hidden = !next.length;
  drawMarks(boxes);
}

function makeChip(label) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = css(colourOfLabel(label));
  const chip = make(
    "button",
    { type: "button", class: "chip", title: plain(label) },
    swatch,
    make("span", { class: "name" }, plain(label, 40)),
    make("span", { class: "count" }),
  );
  chip.dataset.label = label;
  chip.addEventListener("click", () => {
    if (!state.hidden.delete(label)) state.hidden.add(label);
    changed("filters");
  });
  return chip;
}

/** Draw a mark above the slider for each score. */
function drawMarks(boxes) {
  const lines = boxes.map(({ label, score }) => {
    const line = make("span", { class: "mark" });
    line.style.insetInlineStart = `${(100 * (score - LOWEST_SCORE)) / (1 - LOWEST_SCORE)}%`;
    line.style.background = css(colourOfLabel(label));
    line.classList.toggle("off", score < state.threshold || state.hidden.has(label));
    return line;
  });
  marks.replaceChildren(...lines);
}

slider.addEventListener("input", () => {
  state.threshold = Number(slider.value);
  showValue();
  changed("filters");
});
byId("all-classes").addEventListener("click", () => {
  state.hidden.clear();
  changed("filters");
});
byId("no-classes").addEventListener("click", () => {
  state.hidden = new Set([...state.model.classes, ...(state.current?.result?.boxes ?? []).map(({ label }) => label)]);
  changed("filters");
});

let started = false;
on("model", () => {
  if (!started && state.model) startAt(state.model.conf);
  started ||= Boolean(state.model);
  fill();
});
on("current", fill);
on("filters", fill);
