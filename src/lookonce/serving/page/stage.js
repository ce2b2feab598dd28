// The image with its boxes: two stacked canvases at screen resolution.

import { byId, plain } from "./dom.js";
import { drawDetections } from "./drawing.js";
import { decode } from "./images.js";
import { highlight, on, shownIndices, state } from "./state.js";

const stage = byId("stage"), base = byId("image"), overlay = byId("boxes");
const LINE_PX = 2, FONT_PX = 13;

/** @type {{image: any, source: CanvasImageSource & {close?: () => void} | null} | null} */
let held = null;
/** @type {any} the image that is being decoded */
let decoding = null;
let frame = 0;

/** Show a camera frame, which needs no decoding. @param {any} image @param {HTMLCanvasElement} source */
export function hold(image, source) {
  release();
  decoding = null;
  held = { image, source };
}

/** Return the decoded current image, or null if it is being decoded or not supported by the browser. */
export function currentSource() {
  return held && held.image === state.current ? held.source : null;
}

async function load() {
  const image = state.current;
  if (held && held.image !== image) release();
  redraw();
  // Decode only after the check of the pixel limit, which sets the size.
  if (!image?.size || image.live || held || decoding === image) return;
  decoding = image;
  const source = await decode(image.file);
  if (decoding !== image || state.current !== image) {
    source?.close();
    if (decoding === image) decoding = null;
    return;
  }
  decoding = null;
  held = { image, source };
  redraw();
}

function release() {
  held?.source?.close?.();
  held = null;
}

/** Redraw both canvases in the next animation frame. */
function redraw() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    draw();
  });
}

function draw() {
  const image = state.current;
  const size = image?.result ?? image?.size;
  const unknown = image?.status === "done" && (!image.size || (held?.image === image && !held.source));
  byId("no-preview").hidden = !unknown;
  stage.classList.toggle("blank", !size);
  if (!image || !size) return;
  // On narrow screens the stage has the image's aspect ratio.
  stage.style.setProperty("--shape", `${size.width} / ${size.height}`);
  const scale = Math.min(stage.clientWidth / size.width, stage.clientHeight / size.height);
  const ratio = window.devicePixelRatio;
  for (const canvas of [base, overlay]) {
    const width = Math.max(1, Math.floor(scale * size.width * ratio));
    const height = Math.max(1, Math.floor(scale * size.height * ratio));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    canvas.style.width = `${width / ratio}px`;
    canvas.style.height = `${height / ratio}px`;
  }
  drawImage();
  drawBoxes();
}

function drawImage() {
  const pen = base.getContext("2d"), source = currentSource() ?? state.current.thumbnail;
  pen.clearRect(0, 0, base.width, base.height);
  if (!source) return;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, base.width, base.height);
}

function drawBoxes() {
  const image = state.current;
  if (!image) return;
  const pen = overlay.getContext("2d"), ratio = window.devicePixelRatio;
  pen.clearRect(0, 0, overlay.width, overlay.height);
  const boxes = image.result?.boxes ?? [];
  const shown = shownIndices(image).map((index) => boxes[index]);
  const highlighted = state.highlighted === null ? null : boxes[state.highlighted];
  drawDetections(pen, shown, {
    line: Math.max(1, Math.round(LINE_PX * ratio)),
    font: Math.round(FONT_PX * ratio),
    highlighted: highlighted && shown.includes(highlighted) ? highlighted : null,
  });
  overlay.setAttribute("aria-label", describe(image, shown));
}

/** Describe the visible detections: "dog.jpg: 3 objects: 2 car, 1 dog". */
export function describe(image, shown) {
  if (image.status === "failed") return `${image.name}: ${image.error}`;
  if (!image.result) return `${image.name}: no result yet`;
  const counts = new Map();
  for (const { label } of shown) counts.set(label, (counts.get(label) ?? 0) + 1);
  const classes = [...counts].map(([label, number]) => `${number} ${plain(label, 40)}`).join(", ");
  return `${image.name}: ${shown.length} ${shown.length === 1 ? "object" : "objects"}${classes && `: ${classes}`}`;
}

/** Return the index of the smallest visible box under the pointer, or null. */
function under(event) {
  const frameOf = overlay.getBoundingClientRect();
  const x = (event.clientX - frameOf.left) / frameOf.width, y = (event.clientY - frameOf.top) / frameOf.height;
  const boxes = state.current?.result?.boxes ?? [];
  let best = null, least = Infinity;
  for (const index of shownIndices(state.current)) {
    const { topX, topY, bottomX, bottomY } = boxes[index].box;
    const area = (bottomX - topX) * (bottomY - topY);
    if (topX <= x && x <= bottomX && topY <= y && y <= bottomY && area < least) [best, least] = [index, area];
  }
  return best;
}

function followResolution() {
  const query = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
  query.addEventListener("change", () => (redraw(), followResolution()), { once: true });
}

overlay.addEventListener("pointermove", (event) => highlight(under(event)));
overlay.addEventListener("pointerdown", (event) => highlight(under(event)));
overlay.addEventListener("pointerleave", () => highlight(null));
new ResizeObserver(redraw).observe(stage);
followResolution();
on("current", load);
on("model", redraw);
on("filters", redraw);
on("highlight", () => requestAnimationFrame(drawBoxes));
