// What is taken away: the shown detections as JSON, the picture with its boxes, the request as a command.

import { byId } from "./dom.js";
import { drawDetections } from "./drawing.js";
import { hasKey } from "./key.js";
import { decode } from "./pictures.js";
import { currentSource } from "./stage.js";
import { on, shownIndices, state } from "./state.js";
import { announce } from "./status.js";

const KEEP_MS = 60_000;

/** A picture's answer as `/score` writes it, without what the filters hide. */
function filtered(picture) {
  const { width, height, boxes } = picture.answer;
  return { filename: picture.name, width, height, boxes: shownIndices(picture).map((index) => boxes[index]) };
}

function saveJson(pictures, name) {
  const text = JSON.stringify(pictures.map(filtered), null, 2);
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

/** The name without its ending and without what file systems refuse. */
function stem(picture) {
  return picture.name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N} ._-]+/gu, "_").slice(0, 80) || "picture";
}

async function saveDrawn(picture) {
  const source = currentSource() ?? (picture.size && !picture.live ? await decode(picture.file) : null);
  if (!source) return announce("This browser can't show the picture, so it can't draw on it.", true);
  const canvas = document.createElement("canvas");
  const { width, height, boxes } = picture.answer;
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  const type = byId("picture-format").value;
  if (pen && type === "image/jpeg") {
    // JPEG has no transparency; black would swallow what a see-through picture shows.
    pen.fillStyle = "white";
    pen.fillRect(0, 0, width, height);
  }
  pen?.drawImage(source, 0, 0, width, height);
  const short = Math.min(width, height);
  const style = { line: Math.max(2, Math.round(short / 200)), font: Math.max(11, Math.round(short / 36)) };
  if (pen) drawDetections(pen, shownIndices(picture).map((index) => boxes[index]), style);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
  if (!blob) return announce("The picture is too large for this browser to write.", true);
  save(blob, `${stem(picture)}.boxes.${type === "image/png" ? "png" : "jpg"}`);
}

/** Text in single quotes as a shell reads it. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function command(picture) {
  const address = new URL(`score?conf=${state.threshold.toFixed(2)}`, document.baseURI);
  const type = picture.file.type.startsWith("image/") ? picture.file.type : "application/octet-stream";
  return [
    "curl",
    ...(hasKey() ? ['-H "Authorization: Bearer $WEBSERVICE_KEY"'] : []),
    `-H ${quoted(`Content-Type: ${type}`)}`,
    `--data-binary ${quoted(`@${picture.name}`)}`,
    quoted(address.href),
  ].join(" ");
}

async function copyCommand(picture) {
  const field = byId("command");
  field.value = command(picture);
  field.hidden = false;
  try {
    await navigator.clipboard.writeText(field.value);
    announce("Command copied.", true);
  } catch {
    // Without https there is no clipboard: the text is there, selected.
    field.focus();
    field.select();
    announce("Copy the command below.", true);
  }
}

const answered = () => (state.current?.answer ? state.current : null);
const forAnswered = (act) => () => answered() && act(answered());

byId("save-json").addEventListener("click", forAnswered((picture) => saveJson([picture], `${stem(picture)}.json`)));
byId("save-all-json").addEventListener("click", () =>
  saveJson(state.pictures.filter((picture) => picture.answer), "detections.json"),
);
byId("save-picture").addEventListener("click", forAnswered(saveDrawn));
byId("copy-curl").addEventListener("click", forAnswered(copyCommand));

function fill() {
  byId("take-away").hidden = !answered();
  byId("save-all-json").hidden = state.pictures.filter((picture) => picture.answer).length < 2;
  const field = byId("command");
  if (!field.hidden && answered()) field.value = command(answered());
}
on("current", fill);
on("pictures", fill);
on("filters", fill);
