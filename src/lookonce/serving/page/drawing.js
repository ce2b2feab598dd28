// Draw boxes and labels on a canvas, for the screen and for downloads.

import { plain } from "./dom.js";
import { colourOf, css, inkOn } from "./palette.js";
import { state } from "./state.js";

const FONT = '"Inter", "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif';
const FADED = 0.3;

/** Return the colour of a class; unknown classes have the first colour. @param {string} label */
export function colourOfLabel(label) {
  return colourOf(Math.max(0, state.model?.classes.indexOf(label) ?? 0));
}

/**
 * Draw detections over an entire canvas.
 * @param {CanvasRenderingContext2D} pen
 * @param {import("./state.js").Detection[]} detections best first
 * @param {{line: number, font: number, highlighted?: import("./state.js").Detection | null}} style in canvas pixels
 */
export function drawDetections(pen, detections, { line, font, highlighted = null }) {
  const { width, height } = pen.canvas;
  const order = highlighted ? [highlighted, ...detections.filter((one) => one !== highlighted)] : detections;
  const placed = [];
  pen.font = `600 ${font}px ${FONT}`;
  pen.textBaseline = "middle";
  const weight = (one) => (one === highlighted ? Math.round(1.5 * line) : line);
  const alphaOf = (one) => (highlighted && one !== highlighted ? FADED : 1);
  // The best one last, on top.
  for (const detection of order.toReversed()) {
    pen.globalAlpha = alphaOf(detection);
    drawBox(pen, pixels(detection.box, width, height), colourOfLabel(detection.label), weight(detection));
  }
  const chips = order.map((detection) => {
    const text = fit(pen, `${plain(detection.label, 40)} ${detection.score.toFixed(2)}`, width - font);
    const wide = Math.ceil(pen.measureText(text).width + 0.8 * font), high = Math.ceil(1.5 * font);
    const chip = place(pixels(detection.box, width, height), [wide, high], line, [width, height], placed);
    placed.push(chip);
    return { detection, text, chip };
  });
  for (const { detection, text, chip } of chips.reverse()) {
    pen.globalAlpha = alphaOf(detection);
    const colour = colourOfLabel(detection.label);
    pen.fillStyle = css(colour);
    pen.fillRect(chip[0], chip[1], chip[2], chip[3]);
    pen.fillStyle = css(inkOn(colour));
    pen.fillText(text, chip[0] + 0.4 * font, chip[1] + chip[3] / 2 + 0.05 * font);
  }
  pen.globalAlpha = 1;
}

/** @param {import("./state.js").Corners} box @returns {[number, number, number, number]} whole canvas pixels */
function pixels(box, width, height) {
  const left = Math.round(clamp(box.topX) * width), top = Math.round(clamp(box.topY) * height);
  return [
    left,
    top,
    Math.max(1, Math.round(clamp(box.bottomX) * width) - left),
    Math.max(1, Math.round(clamp(box.bottomY) * height) - top),
  ];
}

function clamp(share) {
  return Math.min(1, Math.max(0, share));
}

function drawBox(pen, [left, top, wide, high], colour, line) {
  const hair = Math.max(1, Math.round(line / 3));
  // Thin contrasting lines on both sides keep the colour visible on any background.
  pen.strokeStyle = inkOn(colour)[0] ? "rgb(255 255 255 / 0.75)" : "rgb(0 0 0 / 0.6)";
  pen.lineWidth = line + 2 * hair;
  frame(pen, left, top, wide, high, line);
  pen.strokeStyle = css(colour);
  pen.lineWidth = line;
  frame(pen, left, top, wide, high, line);
}

/** Stroke a rectangle inside the box, on whole pixels. */
function frame(pen, left, top, wide, high, line) {
  pen.strokeRect(left + line / 2, top + line / 2, Math.max(0, wide - line), Math.max(0, high - line));
}

/** Place a label above, inside or below its box, at the first position free of other labels. */
function place([left, top, wide, high], [chipWide, chipHigh], line, [width, height], placed) {
  const right = left + wide - chipWide, bottom = top + high;
  const places = [
    [left, top - chipHigh],
    [left, top],
    [right, top - chipHigh],
    [right, top],
    [left, bottom],
    [left, bottom - chipHigh],
    [left, top + chipHigh],
  ].filter(([, y]) => y > -line);
  let best = null, least = Infinity;
  for (const [x, y] of places) {
    const chip = [
      Math.max(0, Math.min(x, width - chipWide)),
      Math.max(0, Math.min(y, height - chipHigh)),
      chipWide,
      chipHigh,
    ];
    const overlap = placed.reduce((sum, other) => sum + common(chip, other), 0);
    if (overlap < least) [best, least] = [chip, overlap];
    if (overlap === 0) break;
  }
  return best;
}

function common(one, other) {
  const wide = Math.min(one[0] + one[2], other[0] + other[2]) - Math.max(one[0], other[0]);
  const high = Math.min(one[1] + one[3], other[1] + other[3]) - Math.max(one[1], other[1]);
  return Math.max(0, wide) * Math.max(0, high);
}

/** Shorten the class name of a label that is wider than the image. */
function fit(pen, text, width) {
  const [, name, score] = /^(.*) (\S+)$/s.exec(text) ?? [text, text, ""];
  for (let kept = name.length; kept > 1 && pen.measureText(text).width > width; ) {
    kept = Math.min(kept - 1, Math.ceil(kept * 0.9));
    text = `${name.slice(0, kept)}… ${score}`;
  }
  return text;
}
