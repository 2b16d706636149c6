// Light or dark: as the system has it, or as was chosen last.

const THEME = "weir.theme";

function theme(choice) {
  if (choice) document.documentElement.dataset.theme = choice;
}

export function turn() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "light" : "dark");
  try {
    localStorage.setItem(THEME, document.documentElement.dataset.theme);
  } catch { /* a browser that keeps nothing */ }
}

try {
  theme(localStorage.getItem(THEME));
} catch { /* likewise */ }
document.getElementById("theme").addEventListener("click", turn);
