// Connection to the service: fetch the model card, wait while it loads, reconnect.

import { fetchModel } from "./api.js";
import { byId } from "./dom.js";
import { pump } from "./images.js";
import { changed, on, state } from "./state.js";
import { banner } from "./status.js";

const light = byId("light"), word = byId("light-text");
const MOST_PAUSE_SECONDS = 10;

let connecting = false;
let checkedVersion = "";

function setStatus(kind, text) {
  light.dataset.state = kind;
  word.textContent = text;
}

/** Fetch the model card, retrying until it succeeds. */
export async function connect() {
  if (connecting) return;
  connecting = true;
  byId("connect").hidden = true;
  for (let tries = 0; connecting; tries++) {
    try {
      state.model = await fetchModel();
      setStatus("ready", "Ready");
      banner(null);
      changed("model");
      pump();
      connecting = false;
    } catch (error) {
      if (!error.retryAfter) {
        connecting = false;
        setStatus("down", error.status === 401 ? "Key needed" : "Error");
        banner(error.message);
        byId("connect").hidden = false;
        break;
      }
      const loading = error.status === 503;
      setStatus(loading ? "loading" : "down", loading ? "Loading" : "Unreachable");
      banner(loading ? error.message : `${error.message} Trying again…`);
      await pause(Math.min(MOST_PAUSE_SECONDS, Math.max(error.retryAfter, loading ? 1 : tries)));
    }
  }
}

/** Wait; return early when the browser is online again. */
function pause(seconds) {
  return new Promise((resolve) => {
    const done = () => (clearTimeout(timer), window.removeEventListener("online", done), resolve(null));
    const timer = setTimeout(done, 1000 * seconds);
    window.addEventListener("online", done);
  });
}

byId("connect").addEventListener("click", connect);
window.addEventListener("offline", () => {
  setStatus("down", "Offline");
  banner("This device is offline.");
});
window.addEventListener("online", connect);
on("lost", connect);
// A result of another version: the service has reloaded its model.
on("current", () => {
  const version = state.current?.result?.version;
  // Several workers may reload one after the other; fetch the card once per version.
  if (!version || !state.model || version === state.model.version || version === checkedVersion) return;
  checkedVersion = version;
  connect();
});
