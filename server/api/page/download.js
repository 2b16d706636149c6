// An answer of the server as a file: a choice of its format, and a button.

import { choose, h } from "./dom.js";
import { bytes } from "./format.js";
import { file } from "./net.js";

const ENDINGS = { csv: "csv", ndjson: "ndjson", arrow: "arrows" };
const NAMES = { csv: "CSV", ndjson: "NDJSON", arrow: "Arrow" };
const KEPT_MS = 60000; // the browser has opened it by then

function hand(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

// `ask` of a format is what to ask for: {name of the file, path, options}.
export function download(label, ask) {
  const format = choose("Format", () => {});
  const said = h("span", { role: "status" });
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    said.className = "soft";
    said.textContent = "downloading";
    try {
      const { name, path, options } = ask(format.value), full = `${name}.${ENDINGS[format.value]}`;
      const { blob, cut } = await file(path, options);
      hand(blob, full);
      said.textContent = `${full}, ${bytes(blob.size)}` + (cut ? `; there are more rows: cut by ${cut}` : "");
    } catch (e) {
      said.className = "bad";
      said.textContent = e.message;
    }
    button.disabled = false;
  } }, label);
  format.offer(Object.keys(ENDINGS), "csv", (f) => NAMES[f]);
  return h("div", { class: "row" }, format.element, button, said);
}
