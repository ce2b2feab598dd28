// Whether the service answers: its model's card, waiting while it loads, watching while it is away.

import { fetchModel } from "./api.js";
import { byId } from "./dom.js";
import { pump } from "./images.js";
import { changed, on, state } from "./state.js";
import { banner } from "./status.js";

const light = byId("light"), word = byId("light-text");
const MOST_PAUSE_SECONDS = 10;

let asking = false;
let seen = "";

function tell(kind, text) {
  light.dataset.state = kind;
  word.textContent = text;
}

/** Fetch the model's card, for as long as it takes. */
export async function connect() {
  if (asking) return;
  asking = true;
  byId("connect").hidden = true;
  for (let tries = 0; asking; tries++) {
    try {
      state.model = await fetchModel();
      tell("ready", "Ready");
      banner(null);
      changed("model");
      pump();
      asking = false;
    } catch (error) {
      if (!error.retryAfter) {
        asking = false;
        tell("down", error.status === 401 ? "Key needed" : "Not working");
        banner(error.message);
        byId("connect").hidden = false;
        break;
      }
      const loading = error.status === 503;
      tell(loading ? "loading" : "down", loading ? "Loading" : "Not reachable");
      banner(loading ? error.message : `${error.message} Trying again…`);
      await pause(Math.min(MOST_PAUSE_SECONDS, Math.max(error.retryAfter, loading ? 1 : tries)));
    }
  }
}

/** Ends early when the browser says that the network is back. */
function pause(seconds) {
  return new Promise((resolve) => {
    const done = () => (clearTimeout(timer), window.removeEventListener("online", done), resolve(null));
    const timer = setTimeout(done, 1000 * seconds);
    window.addEventListener("online", done);
  });
}

byId("connect").addEventListener("click", connect);
window.addEventListener("offline", () => {
  tell("down", "Offline");
  banner("This device is offline.");
});
window.addEventListener("online", connect);
on("lost", connect);
// An answer of another version: the model was changed under the running service.
on("current", () => {
  const version = state.current?.answer?.version;
  // Several workers may change one after the other; each version is asked for once.
  if (!version || !state.model || version === state.model.version || version === seen) return;
  seen = version;
  connect();
});
