"use strict";
// The theme, and what the address keeps of it: ?theme=dark. Without this script the page follows the system.

const state = new URLSearchParams(location.search);

function remember(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
  const query = state.toString();
  history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
}

const THEMES = { "": "light", light: "dark", dark: "" };
const theme = document.getElementById("theme");

function showTheme() {
  const name = state.get("theme") ?? "";
  if (name in THEMES && name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  theme.textContent = `Theme: ${document.documentElement.dataset.theme ?? "system"}`;
}

theme.addEventListener("click", () => {
  remember("theme", THEMES[document.documentElement.dataset.theme ?? ""]);
  showTheme();
});
theme.hidden = false;
showTheme();
