// Images of the session: added, checked against the service's limits, sent two at a time.

import { ServiceError, detect } from "./api.js";
import { count, plain } from "./dom.js";
import { changed, show, state, touched } from "./state.js";

const AT_ONCE = 2;
const MOST_IMAGES = 200;
const MOST_TRYING_MS = 90_000;
const THUMBNAIL_PX = 240;

let nextId = 1;
let running = 0;
let retryAt = 0;

/** @param {Blob} file @param {string} name @returns {import("./state.js").Image} */
export function makeImage(file, name) {
  return {
    id: nextId++,
    name: plain(name) || "image",
    file,
    status: "waiting",
    note: "",
    error: "",
    live: false,
    size: null,
    result: null,
    thumbnail: null,
    stop: new AbortController(),
  };
}

/**
 * Add files, show the first one and send them. Return how many were left out.
 * @param {File[]} files
 */
export function addFiles(files) {
  const room = MOST_IMAGES - state.images.length;
  const added = files.slice(0, Math.max(0, room)).map((file) => makeImage(file, file.name));
  state.images.push(...added);
  if (added.length) show(added[0]);
  if (added.length) touched(added[0]);
  pump();
  return files.length - added.length;
}

/** Remove an image and abort its request. @param {import("./state.js").Image} image */
export function remove(image) {
  const index = state.images.indexOf(image);
  if (index < 0) return;
  image.stop.abort();
  state.images.splice(index, 1);
  if (state.current === image) show(state.images[Math.min(index, state.images.length - 1)] ?? null);
  touched(image);
}

/** Remove all images. */
export function removeAll() {
  for (const image of state.images) image.stop.abort();
  state.images = [];
  show(null);
  changed("images");
}

/** Send a failed image again. @param {import("./state.js").Image} image */
export function retry(image) {
  update(image, { status: "waiting", error: "", note: "" });
  pump();
}

/** Start waiting images, up to AT_ONCE; called again once the model's limits are known. */
export function pump() {
  while (state.model && running < AT_ONCE) {
    const next = state.images.find((image) => image.status === "waiting" && !image.note);
    if (!next) return;
    running++;
    next.note = "sending";
    process(next).finally(() => {
      running--;
      pump();
    });
  }
}

/** @param {import("./state.js").Image} image */
async function process(image) {
  try {
    refuseBytes(image);
    await readSize(image);
    const body = await image.file.arrayBuffer().catch(() => {
      throw new ServiceError("The file cannot be read (any more). Choose it again, or the files of a folder.", 0);
    });
    const result = await send(image, body);
    update(image, { status: "done", note: "", result });
  } catch (error) {
    if (image.stop.signal.aborted) return;
    const message = error instanceof ServiceError ? error.message : `The page failed: ${error.message}`;
    update(image, { status: "failed", note: "", error: message });
    // The key dialog was cancelled: do not open it again for each image.
    const others = error.status === 401 ? state.images.filter(({ status }) => status === "waiting") : [];
    for (const other of others) update(other, { status: "failed", note: "", error: message });
  }
}

async function send(image, body) {
  const until = Date.now() + MOST_TRYING_MS;
  for (;;) {
    await waitForRetry(image);
    update(image, { status: "busy", note: "Detecting…" });
    try {
      return await detect(body, image.file.type, image.stop.signal);
    } catch (error) {
      if (error.status === 0) changed("lost");
      if (!error.retryAfter || Date.now() + 1000 * error.retryAfter > until) throw error;
      // All images wait: they share the service's queue.
      retryAt = Math.max(retryAt, Date.now() + 1000 * error.retryAfter);
      update(image, { status: "waiting", note: `${error.message} Trying again…` });
    }
  }
}

async function waitForRetry(image) {
  while (Date.now() < retryAt) {
    image.stop.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, Math.min(250, retryAt - Date.now())));
  }
  image.stop.signal.throwIfAborted();
}

function refuseBytes({ file }) {
  const most = state.model.limits.body_bytes;
  if (file.size === 0) throw new ServiceError("The file is empty.", 0);
  if (/^(video|audio|text)\/|^application\/(pdf|zip)$/.test(file.type)) {
    throw new ServiceError(`Not an image but ${plain(file.type, 40)}; not sent.`, 0);
  }
  if (file.size > most) {
    throw new ServiceError(
      `${megabytes(file.size)} exceed the service's limit of ${megabytes(most)}; not sent. Make the image smaller.`,
      0,
    );
  }
}

/** Read the size from the header before decoding, then create the thumbnail. */
async function readSize(image) {
  const size = await headerSize(image.file);
  if (!size) return;
  const most = state.model.limits.pixels;
  if (size.width * size.height > most) {
    throw new ServiceError(
      `${size.width} × ${size.height} pixels exceed the service's limit of ${(most / 1e6).toLocaleString("en")} ` +
        "million; not sent. Make the image smaller.",
      0,
    );
  }
  const bitmap = await decode(image.file);
  if (bitmap) {
    update(image, { size: { width: bitmap.width, height: bitmap.height }, thumbnail: shrink(bitmap) });
    bitmap.close();
  }
}

async function headerSize(file) {
  const address = URL.createObjectURL(file);
  try {
    return await new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
      image.onerror = () => resolve(null);
      image.src = address;
    });
  } finally {
    URL.revokeObjectURL(address);
  }
}

/**
 * Decode an image upright, as the service does; null if the browser does not support its format.
 * @param {Blob} file
 */
export async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

function shrink(bitmap) {
  const scale = Math.min(1, THUMBNAIL_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(scale * bitmap.width));
  canvas.height = Math.max(1, Math.round(scale * bitmap.height));
  const pen = canvas.getContext("2d");
  if (pen) pen.imageSmoothingQuality = "high";
  pen?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function update(image, changes) {
  Object.assign(image, changes);
  if (image.live || state.images.includes(image)) touched(image);
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toLocaleString("en", { maximumFractionDigits: 1 })} MiB`;
}

/** Describe the limits of an image. */
export function describeLimits() {
  const { body_bytes: bytes, pixels } = state.model.limits;
  return `up to ${megabytes(bytes)} and ${count(pixels / 1e6, "million pixels", "million pixels")}`;
}
