// Downloads: visible detections as JSON, the annotated image, the request as a curl command.

import { byId } from "./dom.js";
import { drawDetections } from "./drawing.js";
import { hasKey } from "./key.js";
import { decode } from "./images.js";
import { currentSource } from "./stage.js";
import { on, shownIndices, state } from "./state.js";
import { announce } from "./status.js";

const KEEP_MS = 60_000;

/** Return an image's result in the format of `/score`, without filtered detections. */
function filtered(image) {
  const { width, height, boxes } = image.result;
  return { filename: image.name, width, height, boxes: shownIndices(image).map((index) => boxes[index]) };
}

function saveJson(images, name) {
  const text = JSON.stringify(images.map(filtered), null, 2);
  save(new Blob([text, "\n"], { type: "application/json" }), name);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEEP_MS);
  announce(`${name} saved.`);
}

/** Return the name without extension and without characters that file systems reject. */
function stem(image) {
  return image.name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N} ._-]+/gu, "_").slice(0, 80) || "image";
}

async function saveDrawn(image) {
  const source = currentSource() ?? (image.size && !image.live ? await decode(image.file) : null);
  if (!source) return announce("This browser cannot display the image, so it cannot draw on it.", true);
  const canvas = document.createElement("canvas");
  const { width, height, boxes } = image.result;
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  const type = byId("image-format").value;
  if (pen && type === "image/jpeg") {
    // JPEG has no transparency; transparent areas would turn black.
    pen.fillStyle = "white";
    pen.fillRect(0, 0, width, height);
  }
  pen?.drawImage(source, 0, 0, width, height);
  const short = Math.min(width, height);
  const style = { line: Math.max(2, Math.round(short / 200)), font: Math.max(11, Math.round(short / 36)) };
  if (pen) drawDetections(pen, shownIndices(image).map((index) => boxes[index]), style);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
  if (!blob) return announce("The image is too large for this browser to encode.", true);
  save(blob, `${stem(image)}.boxes.${type === "image/png" ? "png" : "jpg"}`);
}

/** Quote text for a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function command(image) {
  const address = new URL(`score?conf=${state.threshold.toFixed(2)}`, document.baseURI);
  const type = image.file.type.startsWith("image/") ? image.file.type : "application/octet-stream";
  return [
    "curl",
    ...(hasKey() ? ['-H "Authorization: Bearer $WEBSERVICE_KEY"'] : []),
    `-H ${quoted(`Content-Type: ${type}`)}`,
    `--data-binary ${quoted(`@${image.name}`)}`,
    quoted(address.href),
  ].join(" ");
}

async function copyCommand(image) {
  const field = byId("command");
  field.value = command(image);
  field.hidden = false;
  try {
    await navigator.clipboard.writeText(field.value);
    announce("Command copied.", true);
  } catch {
    // No clipboard without https: select the text instead.
    field.focus();
    field.select();
    announce("Copy the command below.", true);
  }
}

const detected = () => (state.current?.result ? state.current : null);
const ifDetected = (act) => () => detected() && act(detected());

byId("save-json").addEventListener("click", ifDetected((image) => saveJson([image], `${stem(image)}.json`)));
byId("save-all-json").addEventListener("click", () =>
  saveJson(state.images.filter((image) => image.result), "detections.json"),
);
byId("save-image").addEventListener("click", ifDetected(saveDrawn));
byId("copy-curl").addEventListener("click", ifDetected(copyCommand));

function fill() {
  byId("take-away").hidden = !detected();
  byId("save-all-json").hidden = state.images.filter((image) => image.result).length < 2;
  const field = byId("command");
  if (!field.hidden && detected()) field.value = command(detected());
}
on("current", fill);
on("images", fill);
on("filters", fill);
