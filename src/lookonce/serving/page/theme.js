// Colour theme: light, dark, or the system's; stored in this browser.

import { byId } from "./dom.js";

const SLOT = "lookonce-theme";
const ORDER = ["auto", "light", "dark"];
const button = byId("theme");

function stored() {
  try {
    const theme = localStorage.getItem(SLOT) ?? "auto";
    return ORDER.includes(theme) ? theme : "auto";
  } catch {
    return "auto";
  }
}

function use(theme) {
  document.documentElement.dataset.theme = theme;
  button.setAttribute("aria-label", `Colours: ${theme}`);
  button.title = `Colours: ${theme}`;
}

let theme = stored();
use(theme);
button.addEventListener("click", () => {
  theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
  use(theme);
  try {
    localStorage.setItem(SLOT, theme);
  } catch {
    // No storage: the choice is not kept.
  }
});
