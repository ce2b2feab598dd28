// Requests to the service: the key, its errors as messages, its timing.

import { plain } from "./dom.js";
import { askForKey, authorization } from "./key.js";
import { LOWEST_SCORE } from "./state.js";

const MOST_SECONDS = 120;
const MOST_WAIT_SECONDS = 60;

/** A request that was not answered as hoped; `message` is for people, `status` 0 when nothing came back. */
export class ServiceError extends Error {
  /** @param {string} message @param {number} status @param {number} retryAfter seconds, 0 for never */
  constructor(message, status, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The model's description. */
export async function fetchModel() {
  return (await ask("model", { method: "GET" })).json();
}

/**
 * The detections in an image, by the low threshold that lets the page filter by itself.
 * @param {ArrayBuffer | Blob} body @param {string} type @param {AbortSignal} [signal]
 * @returns {Promise<import("./state.js").Answer>}
 */
export async function detect(body, type, signal) {
  const headers = { "Content-Type": type.startsWith("image/") ? type : "application/octet-stream" };
  const begun = performance.now();
  const response = await ask(`score?conf=${LOWEST_SCORE}`, { method: "POST", headers, body, signal });
  const content = await readAnswer(response);
  const roundTrip = performance.now() - begun;
  const boxes = content.boxes.toSorted((one, other) => other.score - one.score);
  const { stages, total } = readTiming(response.headers.get("server-timing") ?? "");
  const version = response.headers.get("x-model-version") ?? "";
  return { width: content.width, height: content.height, boxes, timing: { stages, total, roundTrip }, version };
}

/** `queue;dur=1.5, total;dur=2` as pairs in their order, and the total. @param {string} header */
export function readTiming(header) {
  /** @type {[string, number][]} */
  const stages = [];
  let total = 0;
  for (const part of header.split(",")) {
    const [, name, duration] = /^\s*([\w-]+)\s*;\s*dur=([\d.]+)/.exec(part) ?? [];
    if (name === "total") total = Number(duration);
    else if (name) stages.push([name, Number(duration)]);
  }
  return { stages, total: total || stages.reduce((sum, [, duration]) => sum + duration, 0) };
}

async function readAnswer(response) {
  try {
    const [content] = await response.json();
    if (content.width > 0 && content.height > 0 && Array.isArray(content.boxes)) return content;
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  throw new ServiceError("The service's answer can't be read.", response.status);
}

async function ask(path, { method, headers = {}, body = undefined, signal = undefined }) {
  for (;;) {
    const sent = authorization();
    const response = await send(path, {
      method,
      headers: { Accept: "application/json", ...headers, ...(sent && { Authorization: sent }) },
      body,
      signal: AbortSignal.any([AbortSignal.timeout(1000 * MOST_SECONDS), ...(signal ? [signal] : [])]),
    });
    if (response.ok) return response;
    if (response.status !== 401) throw await refusal(response);
    if (!(await askForKey(sent))) throw new ServiceError("The service wants a key.", 401);
  }
}

async function send(path, options) {
  try {
    // Relative to the page: the service may stand behind a path of its own.
    return await fetch(path, { ...options, cache: "no-store", credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const late = error.name === "TimeoutError";
    const message = late
      ? `The service did not answer within ${MOST_SECONDS} seconds.`
      : "The service can't be reached.";
    throw new ServiceError(message, 0, late ? 0 : 2);
  }
}

async function refusal(response) {
  let message = "";
  try {
    message = plain((await response.json()).error ?? "", 600);
  } catch {
    // Something between here and the service answered in its own words.
  }
  // The service calls a lone image image_0; its name stands beside the message.
  message = message.replace(/^image_0: /, "");
  message = message ? message[0].toUpperCase() + message.slice(1) : `The service answered ${response.status}.`;
  const passing = [429, 502, 503, 504].includes(response.status);
  return new ServiceError(message, response.status, passing ? waitOf(response.headers.get("retry-after")) : 0);
}

/** Seconds that Retry-After asks for, a number or a date; 1 to 60. @param {string | null} header */
export function waitOf(header) {
  const seconds = /^\d+$/.test(header ?? "") ? Number(header) : (Date.parse(header ?? "") - Date.now()) / 1000;
  return Math.min(MOST_WAIT_SECONDS, Math.max(1, seconds || 1));
}
