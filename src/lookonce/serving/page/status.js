// Status messages: visible ones beside the image, and a live region for screen readers.

import { byId } from "./dom.js";
import { remove, retry } from "./images.js";
import { describe } from "./stage.js";
import { on, shownIndices, state } from "./state.js";

const live = byId("live"), toast = byId("toast");
const CALM_MS = 600, LIVE_CALM_MS = 3000, TOAST_MS = 8000;

let pending = 0;
let fading = 0;
let announced = "";

/** Announce a message to screen readers, and as a toast if `visibly`. @param {string} message */
export function announce(message, visibly = false) {
  live.textContent = message;
  announced = message;
  if (!visibly) return;
  byId("toast-text").textContent = message;
  toast.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (toast.hidden = true), TOAST_MS);
}

/** Show a line across the page while the service is unavailable; null hides it. @param {string | null} message */
export function banner(message) {
  const line = byId("banner");
  line.hidden = !message;
  if (byId("banner-text").textContent !== (message ?? "")) byId("banner-text").textContent = message ?? "";
}

/** Announce after a pause: slider and camera change faster than a screen reader can follow. */
function announceSoon() {
  if (pending && state.current?.live) return;
  clearTimeout(pending);
  pending = setTimeout(() => {
    pending = 0;
    const image = state.current;
    if (!image || image.status === "waiting" || image.status === "busy") return;
    const boxes = image.result?.boxes ?? [];
    const message = describe(image, shownIndices(image).map((index) => boxes[index]));
    if (message !== announced) announce(message);
  }, state.current?.live ? LIVE_CALM_MS : CALM_MS);
}

function fill() {
  const image = state.current;
  // The focused element is about to be hidden.
  const welcomeFocused = image && byId("welcome").contains(document.activeElement);
  const failed = image?.status === "failed";
  document.body.classList.toggle("empty", !image);
  byId("failure").hidden = !failed;
  byId("failure-actions").hidden = Boolean(image?.live);
  byId("failure-text").textContent = failed ? image.error : "";
  byId("failure-name").textContent = failed ? image.name : "";
  const working = image && !image.live && (image.status === "waiting" || image.status === "busy");
  byId("working").hidden = !working;
  byId("stage").setAttribute("aria-busy", String(Boolean(working)));
  const note = image?.note && image.note !== "sending" ? image.note : "Queued…";
  if (working) byId("working-text").textContent = state.model ? note : "Waiting for the model…";
  const size = image?.result ?? image?.size;
  byId("image-name").textContent = image?.name ?? "";
  byId("image-size").textContent = size ? `${size.width} × ${size.height} px` : "";
  byId("mismatch").hidden = !sizesDiffer(image);
  if (welcomeFocused) byId("add").focus();
}

/** Whether browser and service disagree on the image's orientation. */
function sizesDiffer(image) {
  const { result, size } = image ?? {};
  return Boolean(result && size && !image.live && (result.width !== size.width || result.height !== size.height));
}

byId("retry").addEventListener("click", () => state.current && retry(state.current));
byId("drop-failed").addEventListener("click", () => {
  if (state.current) remove(state.current);
  byId(state.current ? "add" : "choose").focus();
});
byId("toast-close").addEventListener("click", () => (toast.hidden = true));
on("current", () => {
  fill();
  announceSoon();
});
on("model", fill);
on("filters", announceSoon);
