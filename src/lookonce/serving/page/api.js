// Requests to the service: authorization, error messages, timing.

import { plain } from "./dom.js";
import { promptForKey, authorization } from "./key.js";
import { LOWEST_SCORE } from "./state.js";

const MOST_SECONDS = 120;
const MOST_WAIT_SECONDS = 60;

/** A failed request; `message` is shown to the user, `status` is 0 without a response. */
export class ServiceError extends Error {
  /** @param {string} message @param {number} status @param {number} retryAfter seconds, 0: do not retry */
  constructor(message, status, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Fetch the description of the model. */
export async function fetchModel() {
  return (await request("model", { method: "GET" })).json();
}

/**
 * Detect objects in an image, at a low threshold so that the page can filter the results itself.
 * @param {ArrayBuffer | Blob} body @param {string} type @param {AbortSignal} [signal]
 * @returns {Promise<import("./state.js").Result>}
 */
export async function detect(body, type, signal) {
  const headers = { "Content-Type": type.startsWith("image/") ? type : "application/octet-stream" };
  const started = performance.now();
  const response = await request(`score?conf=${LOWEST_SCORE}`, { method: "POST", headers, body, signal });
  const content = await readResult(response);
  const roundTrip = performance.now() - started;
  const boxes = content.boxes.toSorted((one, other) => other.score - one.score);
  const { stages, total } = readTiming(response.headers.get("server-timing") ?? "");
  const version = response.headers.get("x-model-version") ?? "";
  return { width: content.width, height: content.height, boxes, timing: { stages, total, roundTrip }, version };
}

/** Parse a Server-Timing header such as `queue;dur=1.5, total;dur=2`. @param {string} header */
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

async function readResult(response) {
  try {
    const [content] = await response.json();
    if (content.width > 0 && content.height > 0 && Array.isArray(content.boxes)) return content;
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  throw new ServiceError("The service's response is invalid.", response.status);
}

async function request(path, { method, headers = {}, body = undefined, signal = undefined }) {
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
    if (!(await promptForKey(sent))) throw new ServiceError("The service requires a key.", 401);
  }
}

async function send(path, options) {
  try {
    // Relative to the page: a proxy may add a path prefix.
    return await fetch(path, { ...options, cache: "no-store", credentials: "same-origin", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const late = error.name === "TimeoutError";
    const message = late
      ? `The service did not respond within ${MOST_SECONDS} seconds.`
      : "The service cannot be reached.";
    throw new ServiceError(message, 0, late ? 0 : 2);
  }
}

async function refusal(response) {
  let message = "";
  try {
    message = plain((await response.json()).error ?? "", 600);
  } catch {
    // Not the service but a proxy responded.
  }
  // The service names a single image image_0; the page shows its file name.
  message = message.replace(/^image_0: /, "");
  message = message ? message[0].toUpperCase() + message.slice(1) : `The service returned status ${response.status}.`;
  const temporary = [429, 502, 503, 504].includes(response.status);
  const retryAfter = temporary ? parseRetryAfter(response.headers.get("retry-after")) : 0;
  return new ServiceError(message, response.status, retryAfter);
}

/** Parse Retry-After, a number or a date, to seconds from 1 to 60. @param {string | null} header */
export function parseRetryAfter(header) {
  const seconds = /^\d+$/.test(header ?? "") ? Number(header) : (Date.parse(header ?? "") - Date.now()) / 1000;
  return Math.min(MOST_WAIT_SECONDS, Math.max(1, seconds || 1));
}
