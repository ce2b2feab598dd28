// Words about what goes on: for the eye beside the picture, for screen readers in a live region.

import { byId } from "./dom.js";
import { remove, retry } from "./pictures.js";
import { describe } from "./stage.js";
import { on, shownIndices, state } from "./state.js";

const live = byId("live"), toast = byId("toast");
const CALM_MS = 600, LIVE_CALM_MS = 3000, TOAST_MS = 8000;

let pending = 0;
let fading = 0;
let said = "";

/** Tell screen readers; `visibly`, everybody. @param {string} message */
export function announce(message, visibly = false) {
  live.textContent = message;
  said = message;
  if (!visibly) return;
  byId("toast-text").textContent = message;
  toast.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (toast.hidden = true), TOAST_MS);
}

/** A line across the page while the service can't answer; null takes it away. @param {string | null} message */
export function banner(message) {
  const line = byId("banner");
  line.hidden = !message;
  if (byId("banner-text").textContent !== (message ?? "")) byId("banner-text").textContent = message ?? "";
}

/** Slides and camera frames change faster than anyone can listen. */
function announceSoon() {
  if (pending && state.current?.live) return;
  clearTimeout(pending);
  pending = setTimeout(() => {
    pending = 0;
    const picture = state.current;
    if (!picture || picture.status === "waiting" || picture.status === "busy") return;
    const boxes = picture.answer?.boxes ?? [];
    const message = describe(picture, shownIndices(picture).map((index) => boxes[index]));
    if (message !== said) announce(message);
  }, state.current?.live ? LIVE_CALM_MS : CALM_MS);
}

function fill() {
  const picture = state.current;
  // What had the focus is about to vanish.
  const greeted = picture && byId("welcome").contains(document.activeElement);
  const failed = picture?.status === "failed";
  document.body.classList.toggle("empty", !picture);
  byId("failure").hidden = !failed;
  byId("failure-actions").hidden = Boolean(picture?.live);
  byId("failure-text").textContent = failed ? picture.error : "";
  byId("failure-name").textContent = failed ? picture.name : "";
  const working = picture && !picture.live && (picture.status === "waiting" || picture.status === "busy");
  byId("working").hidden = !working;
  byId("stage").setAttribute("aria-busy", String(Boolean(working)));
  const note = picture?.note && picture.note !== "sending" ? picture.note : "Waiting for its turn…";
  if (working) byId("working-text").textContent = state.model ? note : "Waiting for the model…";
  const size = picture?.answer ?? picture?.size;
  byId("picture-name").textContent = picture?.name ?? "";
  byId("picture-size").textContent = size ? `${size.width} × ${size.height} px` : "";
  byId("mismatch").hidden = !turned(picture);
  if (greeted) byId("add").focus();
}

/** Whether browser and service disagree on which side of the picture is up. */
function turned(picture) {
  const { answer, size } = picture ?? {};
  return Boolean(answer && size && !picture.live && (answer.width !== size.width || answer.height !== size.height));
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
