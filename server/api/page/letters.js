// Dead letters: records that were rejected, with the reason.

import { choose, grid, h, renew } from "./dom.js";
import { cell, number } from "./format.js";
import { get, remove } from "./net.js";

const SETTLE_MS = 3000;

export function lettersView(root, [wanted]) {
  const stream = choose("Stream", () => load());
  const said = h("p", { role: "status", class: "soft" }), list = h("div");
  const sure = h("dialog", { "aria-label": "Delete all" }, h("p", {}, "Delete all dead letters of this stream?"),
    h("form", { method: "dialog", class: "row" }, h("button", { value: "yes", class: "main" }, "Delete"), h("button", { value: "no" }, "Keep")));
  let count = null, until = 0; // what was counted is in the file a little later

  sure.addEventListener("close", async () => {
    if (sure.returnValue !== "yes") return;
    try {
      await remove(`/api/v1/streams/${stream.value}/dead-letters`);
      await load();
    } catch (e) {
      said.textContent = e.message;
    }
  });

  async function load() {
    if (!stream.value) return;
    try {
      const all = await get(`/api/v1/streams/${stream.value}/dead-letters?limit=500`);
      said.textContent = all.length ? `${number(all.length)} of the newest` : "None.";
      renew(list, grid("dead letters",
        ["message", "record", "received", "reason", "line", "column", "source"].map((name) => ({
          name, number: name === "line" || name === "column", text: name === "record" || name === "message" })),
        all.map((l) => [l.message, l.record ?? "", cell(l.received, "time"), l.reason, number(l.line), number(l.column),
          l.source])));
    } catch (e) {
      said.textContent = e.message;
    }
  }

  function show(seen) {
    stream.offer(seen.streams.map((s) => s.name), wanted);
    const now = seen.streams.find((s) => s.name === stream.value)?.rejected;
    if (now !== count) until = performance.now() + SETTLE_MS;
    count = now;
    if (performance.now() < until) load();
  }

  root.append(h("h1", {}, "Dead letters"),
    h("div", { class: "row" }, stream.element, h("button", { type: "button", onclick: () => sure.showModal() }, "Delete all")),
    h("section", { class: "panel" }, said, list), sure);
  return { show };
}
