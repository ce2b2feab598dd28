// The camera: preview, single photos, or continuous detection.

import { ServiceError, detect } from "./api.js";
import { byId } from "./dom.js";
import { addFiles, makeImage } from "./images.js";
import { hold } from "./stage.js";
import { changed, on, show, state } from "./state.js";
import { announce } from "./status.js";

const video = byId("video"), detectButton = byId("camera-detect"), rate = byId("camera-rate");
const WIDTH = 1280, QUALITY = 0.85, HIDDEN_PAUSE_MS = 300, KEPT_RATES = 10;

/** @type {MediaStream | null} */
let stream = null;
let starting = false;
let taken = 0;
/** @type {ReturnType<typeof makeImage> | null} the image of continuous detection, while it runs */
let running = null;

const REASONS = {
  NotAllowedError: "Camera access was denied. Allow it in the browser's address bar.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

async function start() {
  if (stream) {
    preview();
    return;
  }
  if (starting) return;
  if (!navigator.mediaDevices) {
    announce("Browsers allow the camera only on https or localhost.", true);
    return;
  }
  starting = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: WIDTH }, facingMode: { ideal: "environment" } },
    });
  } catch (error) {
    announce(REASONS[error.name] ?? `The camera cannot be used (${error.name}).`, true);
    return;
  } finally {
    starting = false;
  }
  stream.getVideoTracks()[0].addEventListener("ended", stop);
  video.srcObject = stream;
  await video.play().catch(() => {});
  preview();
  byId("capture").focus();
}

/** Show the live camera without boxes. */
function preview() {
  pause();
  show(null);
  fill();
}

function stop() {
  pause();
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  video.srcObject = null;
  if (!state.current || state.current.live) show(state.images.at(-1) ?? null);
  fill();
}

function pause() {
  running?.stop.abort();
  running = null;
}

async function grab() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  return { canvas, blob };
}

async function capture() {
  if (!video.videoWidth) return;
  const { blob } = await grab();
  if (!blob) return;
  pause();
  addFiles([new File([blob], `camera-${++taken}.jpg`, { type: "image/jpeg" })]);
  fill();
}

/** Detect continuously, one request at a time: grab the next frame after each response. */
async function detectContinuously() {
  const image = makeImage(new Blob(), "camera.jpg");
  image.live = true;
  running = image;
  show(image);
  fill();
  /** @type {number[]} */
  const ends = [];
  while (running === image) {
    try {
      if (document.hidden || !video.videoWidth) {
        await sleep(HIDDEN_PAUSE_MS);
        continue;
      }
      const { canvas, blob } = await grab();
      const result = await detect(blob, "image/jpeg", image.stop.signal);
      if (running !== image) return;
      // Show the frame that was sent, not the current one, so that the boxes match it.
      const size = { width: canvas.width, height: canvas.height };
      Object.assign(image, { file: blob, result, size, status: "done", error: "" });
      hold(image, canvas);
      ends.push(performance.now());
      if (ends.length > KEPT_RATES) ends.shift();
      const seconds = (ends[ends.length - 1] - ends[0]) / 1000;
      rate.textContent = ends.length > 1 ? `${((ends.length - 1) / seconds).toFixed(1)} images/s` : "";
    } catch (error) {
      if (running !== image) return;
      const wait = error instanceof ServiceError ? error.retryAfter : 0;
      Object.assign(image, { status: "failed", error: error.message });
      if (!wait) pause();
      else await sleep(1000 * wait);
    }
    if (state.current === image) changed("current");
  }
  fill();
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function fill() {
  const previewing = Boolean(stream) && !state.current;
  document.body.classList.toggle("camera", Boolean(stream));
  byId("camera-controls").hidden = !stream;
  video.hidden = !previewing;
  byId("camera-preview").hidden = !stream || previewing;
  for (const opener of document.querySelectorAll("[data-camera]")) {
    opener.setAttribute("aria-pressed", String(Boolean(stream)));
  }
  detectButton.setAttribute("aria-pressed", String(Boolean(running)));
  byId("camera-detect-text").textContent = running ? "Pause" : "Detect continuously";
  if (!running) rate.textContent = "";
}

for (const opener of document.querySelectorAll("[data-camera]")) opener.addEventListener("click", start);
byId("capture").addEventListener("click", capture);
byId("camera-preview").addEventListener("click", preview);
byId("camera-stop").addEventListener("click", () => {
  stop();
  byId("choose").focus();
});
detectButton.addEventListener("click", () => {
  if (!running) detectContinuously();
  else pause(), fill();
});
on("current", () => {
  // Another image was selected in the strip.
  if (running && state.current !== running) pause();
  fill();
});
