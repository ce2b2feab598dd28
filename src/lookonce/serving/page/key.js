// The service's key: prompted for when required, kept for this tab, sent in a header only.

import { byId } from "./dom.js";

const SLOT = "lookonce-key";
const form = { dialog: byId("key-dialog"), input: byId("key-input"), error: byId("key-error") };

let key = remembered();
/** @type {Promise<boolean> | null} */
let prompt = null;

function remembered() {
  try {
    return sessionStorage.getItem(SLOT) ?? "";
  } catch {
    return "";
  }
}

/** Whether a key is set. */
export function hasKey() {
  return key !== "";
}

/** Return the Authorization header, or an empty string. */
export function authorization() {
  // Headers are bytes: send the key as UTF-8, as the service compares it.
  return key && `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}`;
}

/** Set the key; an empty one removes it. @param {string} value */
export function setKey(value) {
  key = value.trim();
  byId("forget-key").hidden = !key;
  try {
    if (key) sessionStorage.setItem(SLOT, key);
    else sessionStorage.removeItem(SLOT);
  } catch {
    // No storage in this browser: the key lasts as long as the page.
  }
}

/**
 * Prompt for a key; resolve to false if cancelled. Concurrent callers share one dialog.
 * @param {string | null} refused the rejected Authorization header
 */
export async function promptForKey(refused) {
  if (!prompt && refused !== authorization()) return true;
  prompt ??= new Promise((resolve) => {
    form.error.textContent = refused ? "The service did not accept this key." : "";
    form.input.setAttribute("aria-invalid", String(Boolean(refused)));
    form.input.value = "";
    form.dialog.returnValue = "";
    form.dialog.addEventListener("close", () => resolve(form.dialog.returnValue === "use"), { once: true });
    form.dialog.showModal();
    form.input.focus();
  }).then((confirmed) => {
    prompt = null;
    if (confirmed) setKey(form.input.value);
    form.input.value = "";
    return confirmed;
  });
  return prompt;
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.input.value.trim()) form.dialog.close("use");
  else form.error.textContent = "Enter the key, or cancel.";
});
byId("key-cancel").addEventListener("click", () => form.dialog.close(""));
byId("forget-key").hidden = !key;
