// The page at /: which view is shown, keys.

import { consoleView } from "./console.js";
import { graphView } from "./graph.js";
import { lettersView } from "./letters.js";
import { get } from "./net.js";
import { overview } from "./overview.js";
import { resultsView } from "./results.js";
import { turn } from "./theme.js";
import { onLook, seen, watch } from "./watch.js";

const views = { "": overview, results: resultsView, sql: consoleView, letters: lettersView, graph: graphView };
const root = document.getElementById("view");
let view = null;

function plain(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function route() {
  const [, name, ...rest] = location.hash.split("/").map(plain);
  const known = Object.hasOwn(views, name ?? "") ? name ?? "" : "";
  for (const a of document.querySelectorAll("nav a"))
    if (a.dataset.view === known) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  view?.close?.();
  root.replaceChildren();
  view = views[known](root, rest);
  document.title = `${root.querySelector("h1").textContent} - weir`;
  if (seen.ready) view.show(seen);
}

function health(state) {
  const el = document.getElementById("health");
  const good = !state.error && state.ready?.ready;
  el.className = good ? "good" : "bad";
  const text = state.error ?? (good ? "ready" : state.ready?.detail ?? "not ready");
  if (el.textContent !== text) el.textContent = text;
}

const help = document.getElementById("help");
document.getElementById("keys").addEventListener("click", () => help.showModal());
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = Object.keys(views)[Number(event.key) - 1];
  if (name !== undefined) location.hash = `#/${name}`;
  else if (event.key === "t") turn();
  else if (event.key === "?") help.showModal();
  else if (event.key === "/") root.querySelector("[data-slash]")?.focus();
  else return;
  event.preventDefault();
});

window.addEventListener("hashchange", () => { route(); root.focus(); });
onLook((state) => { health(state); view?.show(state); });
route();
watch();
get("/version").then((v) => {
  document.getElementById("version").textContent = `weir ${v.version}, SQLite ${v.sqlite}`;
}, () => {});
