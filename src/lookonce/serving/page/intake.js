// Input of images: chosen, dropped (including folders) or pasted.

import { byId, count } from "./dom.js";
import { announce } from "./status.js";
import { addFiles } from "./images.js";

const MOST_FILES = 500;
const input = byId("files"), veil = byId("veil");

function accept(files, total = files.length) {
  if (!files.length) return;
  const left = addFiles(files) + (total - files.length);
  if (left > 0) {
    announce(`${count(left, "file was", "files were")} left out: the list is full. Remove some images first.`, true);
  }
}

for (const opener of document.querySelectorAll("[data-choose]")) {
  opener.addEventListener("click", () => input.click());
}
input.addEventListener("change", () => {
  accept([...input.files].slice(0, MOST_FILES), input.files.length);
  // Allow choosing the same file again.
  input.value = "";
});

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  accept(files);
});

let dragDepth = 0;

/** Whether a drag carries files, or the URL of an image on another page. */
function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].some((type) => /^(Files|text\/uri-list)$/.test(type));
}

function cover(event, change) {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  dragDepth = Math.max(0, dragDepth + change);
  veil.hidden = dragDepth === 0;
}

document.addEventListener("dragenter", (event) => cover(event, 1));
document.addEventListener("dragleave", (event) => cover(event, -1));
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});
document.addEventListener("drop", async (event) => {
  dragDepth = 0;
  veil.hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  // Both lists are emptied as soon as this handler awaits anything.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...event.dataTransfer.files];
  const folders = entries.some((entry) => entry.isDirectory);
  if (folders) accept(await filesIn(entries));
  else if (files.length) accept(files.slice(0, MOST_FILES), files.length);
  else announce("That is a link, not a file. Save the image first, or copy it and paste it here.", true);
});

/** Collect the images in dropped entries, sorted by path; at most MOST_FILES. */
async function filesIn(entries) {
  const found = [], open = [...entries];
  while (open.length && found.length < MOST_FILES) {
    const entry = open.shift();
    if (entry.isFile) {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      // Silently skip other files in folders.
      if (file && (file.type.startsWith("image/") || entries.includes(entry))) found.push(file);
      continue;
    }
    const reader = entry.createReader();
    // readEntries returns chunks, until an empty one.
    for (let read = 0; read < MOST_FILES; ) {
      const piece = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
      if (!piece.length) break;
      read += piece.length;
      open.push(...piece.sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true })));
    }
  }
  if (!found.length) announce("No images in that folder.", true);
  return found;
}
