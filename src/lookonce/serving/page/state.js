// What the page knows, and who wants to hear when it changes.

/**
 * @typedef {{topX: number, topY: number, bottomX: number, bottomY: number}} Corners fractions of the image
 * @typedef {{label: string, score: number, box: Corners}} Detection
 * @typedef {{stages: [string, number][], total: number, roundTrip: number}} Timing milliseconds
 * @typedef {{width: number, height: number, boxes: Detection[], timing: Timing, version: string}} Answer
 * @typedef {"waiting" | "busy" | "done" | "failed"} Status
 * @typedef {{
 *   id: number, name: string, file: Blob, status: Status, note: string, error: string, live: boolean,
 *   size: {width: number, height: number} | null, answer: Answer | null,
 *   thumbnail: HTMLCanvasElement | null, stop: AbortController,
 * }} Image `size` as the browser shows it, null where it can't
 * @typedef {"model" | "images" | "current" | "filters" | "highlight" | "lost"} Topic lost: no service there
 */

// What requests ask for; the slider ends here, so that moving it needs no further request.
export const LOWEST_SCORE = 0.05;

export const state = {
  /** @type {any} the service's `model` answer */ model: null,
  /** @type {Image[]} */ images: [],
  /** @type {Image | null} */ current: null,
  threshold: 0.3,
  /** @type {Set<string>} classes that are switched off */ hidden: new Set(),
  /** @type {number | null} index into the current answer's boxes */ highlighted: null,
};

/** @type {Map<Topic, Set<() => void>>} */
const listeners = new Map();

/** Call `listener` after every change of `topic`. @param {Topic} topic @param {() => void} listener */
export function on(topic, listener) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic)?.add(listener);
}

/** Say that `topic` has changed. @param {Topic} topic */
export function changed(topic) {
  for (const listener of listeners.get(topic) ?? []) listener();
}

/** Whether the slider and the class filter let a detection through. @param {Detection} detection */
export function isShown(detection) {
  return detection.score >= state.threshold && !state.hidden.has(detection.label);
}

/** The indices of an image's detections that are shown. @param {Image | null} image */
export function shownIndices(image) {
  const boxes = image?.answer?.boxes ?? [];
  return boxes.flatMap((detection, index) => (isShown(detection) ? [index] : []));
}

/** Show another image, or none. @param {Image | null} image */
export function show(image) {
  state.highlighted = null;
  state.current = image;
  changed("current");
}

/** Point at one detection of the current image, or at none. @param {number | null} index */
export function highlight(index) {
  if (state.highlighted === index) return;
  state.highlighted = index;
  changed("highlight");
}

/** Tell those who show an image that its answer, status or thumbnail is another. @param {Image} image */
export function touched(image) {
  changed("images");
  if (image === state.current) changed("current");
}
