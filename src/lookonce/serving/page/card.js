// The model card, and the latency of the current result.

import { byId, count, make, plain } from "./dom.js";
import { colourOf, css } from "./palette.js";
import { describeLimits } from "./images.js";
import { on, state } from "./state.js";

const MOST_METRICS = 16, MOST_CLASSES = 1000;

function fillCard() {
  const model = state.model;
  if (!model) return;
  const [high, wide] = model.input_size;
  byId("model-name").textContent = plain(model.name, 60);
  document.title = `${plain(model.name, 60)} · lookonce`;
  const metrics = Object.entries(model.metrics ?? {}).slice(0, MOST_METRICS);
  const facts = [
    ["Name", model.name],
    ["Version", model.version],
    ["Input", `${wide} × ${high} px, ${model.resize}`],
    ...metrics.map(([key, value]) => [metricName(key), metric(value)]),
    ...trainedOn(model.trained_on ?? {}),
    ["Created", date(model.created)],
    ["Engine", model.engine],
    ["Defaults", `confidence ${model.conf}, IoU ${model.iou}${model.nms_inside ? " (NMS inside the model)" : ""}`],
    ["Limits", `images ${describeLimits()}, ${count(model.limits.detections, "box", "boxes")}`],
    ["Software", `lookonce ${model.lookonce || "?"}`],
  ];
  byId("facts").replaceChildren(
    ...facts.map(([name, value]) =>
      make("div", {}, make("dt", {}, plain(name, 40)), make("dd", {}, plain(value, 160))),
    ),
  );
  byId("classes-count").textContent = count(model.classes.length, "class", "classes");
  byId("class-list").replaceChildren(...model.classes.slice(0, MOST_CLASSES).map(classItem));
  byId("accepted").textContent = `JPEG, PNG, WebP, GIF, BMP, TIFF or PPM, ${describeLimits()}`;
}

function classItem(label, index) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = css(colourOf(index));
  return make("li", {}, swatch, plain(label, 60));
}

function metricName(key) {
  const words = key.replaceAll("_", " ");
  return words.replace(/\b(ap\d*|map\d*|iou)\b/gi, (word) => word.toUpperCase().replace("MAP", "mAP"));
}

function metric(value) {
  if (typeof value !== "number") return plain(value, 80);
  return Number.isInteger(value) ? String(value) : value.toFixed(3);
}

function trainedOn({ dataset, images, boxes, ...others }) {
  const lists = Object.entries(images ?? {}).map(([name, number]) => `${number} ${name}`).join(", ");
  return [
    ...(dataset ? [["Trained on", dataset]] : []),
    ...(lists ? [["Images", lists]] : []),
    ...(boxes ? [["Boxes", boxes.toLocaleString("en")]] : []),
    ...Object.entries(others).map(([key, value]) => [key === "sha256" ? "Data SHA-256" : key, plain(value, 16)]),
  ];
}

function date(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return plain(text, 40);
  return time.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
}

function fillTiming() {
  const timing = state.current?.result?.timing;
  byId("timing").hidden = !timing;
  if (!timing) return;
  const { stages, total, roundTrip } = timing;
  /** @type {[string, number][]} */
  const parts = [...stages, ["transfer", Math.max(0, roundTrip - total)]];
  const whole = Math.max(roundTrip, total, 1e-3);
  byId("round-trip").textContent = `${roundTrip.toFixed(0)} ms`;
  byId("in-service").textContent = `${total.toFixed(0)} ms in the service`;
  byId("timing-bar").replaceChildren(
    ...parts.map(([name, duration]) => {
      const part = make("span", { "data-stage": name });
      part.style.width = `${(100 * duration) / whole}%`;
      return part;
    }),
  );
  byId("timing-parts").replaceChildren(
    ...parts.map(([name, duration]) =>
      make(
        "li",
        {},
        make("span", { class: "swatch", "data-stage": name, "aria-hidden": "true" }),
        `${plain(name, 20)} `,
        make("b", {}, duration.toFixed(duration < 9.95 ? 1 : 0)),
      ),
    ),
  );
}

on("model", fillCard);
on("current", fillTiming);
