// Modules of the page, in the order in which they are notified of changes: decoding before reading.

import "./theme.js";
import "./stage.js";
import "./filters.js";
import "./results.js";
import "./strip.js";
import "./card.js";
import "./downloads.js";
import "./status.js";
import "./camera.js";
import "./intake.js";
import { byId } from "./dom.js";
import { setKey } from "./key.js";
import { removeAll } from "./images.js";
import { connect } from "./service.js";
import { changed } from "./state.js";

byId("clear").addEventListener("click", () => {
  removeAll();
  byId("choose").focus();
});
byId("forget-key").addEventListener("click", () => {
  setKey("");
  location.reload();
});
changed("current");
connect();
