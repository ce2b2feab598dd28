// The service's key: asked for when it is wanted, kept for this tab, sent in a header and nowhere else.

import { byId } from "./dom.js";

const SLOT = "lookonce-key";
const form = { dialog: byId("key-dialog"), input: byId("key-input"), error: byId("key-error") };

let key = remembered();
/** @type {Promise<boolean> | null} */
let asking = null;

function remembered() {
  try {
    return sessionStorage.getItem(SLOT) ?? "";
  } catch {
    return "";
  }
}

/** Whether the service has asked for a key and got one. */
export function hasKey() {
  return key !== "";
}

/** What requests send, or null. */
export function authorization() {
  // Headers carry bytes; a key of other letters travels as UTF-8, as the service compares it.
  return key && `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}`;
}

/** Take another key; an empty one forgets. @param {string} given */
export function setKey(given) {
  key = given.trim();
  byId("forget-key").hidden = !key;
  try {
    if (key) sessionStorage.setItem(SLOT, key);
    else sessionStorage.removeItem(SLOT);
  } catch {
    // No storage in this browser: the key lives as long as the page.
  }
}

/**
 * Ask for the key that was refused; false when the person would rather not. One dialog for all who wait.
 * @param {string | null} refused what was sent
 */
export async function askForKey(refused) {
  if (!asking && refused !== authorization()) return true;
  asking ??= new Promise((resolve) => {
    form.error.textContent = refused ? "The service did not accept this key." : "";
    form.input.setAttribute("aria-invalid", String(Boolean(refused)));
    form.input.value = "";
    form.dialog.returnValue = "";
    form.dialog.addEventListener("close", () => resolve(form.dialog.returnValue === "use"), { once: true });
    form.dialog.showModal();
    form.input.focus();
  }).then((given) => {
    asking = null;
    if (given) setKey(form.input.value);
    form.input.value = "";
    return given;
  });
  return asking;
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.input.value.trim()) form.dialog.close("use");
  else form.error.textContent = "Enter the key, or cancel.";
});
byId("key-cancel").addEventListener("click", () => form.dialog.close(""));
byId("forget-key").hidden = !key;
