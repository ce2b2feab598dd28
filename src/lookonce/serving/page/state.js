// Shared state of the page, and listeners for its changes.

/**
 * @typedef {{topX: number, topY: number, bottomX: number, bottomY: number}} Corners fractions of the image
 * @typedef {{label: string, score: number, box: Corners}} Detection
 * @typedef {{stages: [string, number][], total: number, roundTrip: number}} Timing milliseconds
 * @typedef {{width: number, height: number, boxes: Detection[], timing: Timing, version: string}} Result
 * @typedef {"waiting" | "busy" | "done" | "failed"} Status
 * @typedef {{
 *   id: number, name: string, file: Blob, status: Status, note: string, error: string, live: boolean,
 *   size: {width: number, height: number} | null, result: Result | null,
 *   thumbnail: HTMLCanvasElement | null, stop: AbortController,
 * }} Image `size` as decoded by the browser, null if unsupported
 * @typedef {"model" | "images" | "current" | "filters" | "highlight" | "lost"} Topic lost: the service is unreachable
 */

// Threshold of requests and lower end of the slider, so that moving it needs no further request.
export const LOWEST_SCORE = 0.05;

export const state = {
  /** @type {any} the response of `GET model` */ model: null,
  /** @type {Image[]} */ images: [],
  /** @type {Image | null} */ current: null,
  threshold: 0.3,
  /** @type {Set<string>} disabled classes */ hidden: new Set(),
  /** @type {number | null} index into the current result's boxes */ highlighted: null,
};

/** @type {Map<Topic, Set<() => void>>} */
const listeners = new Map();

/** Call `listener` after every change of `topic`. @param {Topic} topic @param {() => void} listener */
export function on(topic, listener) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic)?.add(listener);
}

/** Notify the listeners of `topic`. @param {Topic} topic */
export function changed(topic) {
  for (const listener of listeners.get(topic) ?? []) listener();
}

/** Whether a detection passes the slider and the class filter. @param {Detection} detection */
export function isShown(detection) {
  return detection.score >= state.threshold && !state.hidden.has(detection.label);
}

/** Return the indices of an image's visible detections. @param {Image | null} image */
export function shownIndices(image) {
  const boxes = image?.result?.boxes ?? [];
  return boxes.flatMap((detection, index) => (isShown(detection) ? [index] : []));
}

/** Show another image, or none. @param {Image | null} image */
export function show(image) {
  state.highlighted = null;
  state.current = image;
  changed("current");
}

/** Highlight one detection of the current image, or none. @param {number | null} index */
export function highlight(index) {
  if (state.highlighted === index) return;
  state.highlighted = index;
  changed("highlight");
}

/** Notify listeners that an image's result, status or thumbnail has changed. @param {Image} image */
export function touched(image) {
  changed("images");
  if (image === state.current) changed("current");
}
