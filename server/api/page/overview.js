// Streams and their rates, pipelines and how far they are, what is wrong.

import { spark } from "./chart.js";
import { grid, h, renew } from "./dom.js";
import { bytes, cell, number, short, span } from "./format.js";

const DROPS = [["where_errors", "where failed"], ["null_keys", "null key"],
  ["long_keys", "key too long"], ["over_groups", "over max_groups"]];

function stream(s, seen) {
  const rate = seen.rate.get(s.name);
  const why = Object.entries(s.rejected_by_reason).filter(([, n]) => n > 0).map(([k, n]) => `${number(n)} ${k}`);
  return h("article", { class: "panel" },
    h("h2", {}, s.name),
    h("div", { class: "figure" }, rate === undefined ? "–" : short(rate), h("small", { class: "soft" }, " events/s")),
    spark(seen.past.get(s.name) ?? [], `events a second of ${s.name}, the last two minutes`),
    h("div", { class: "soft" }, `${number(s.accepted)} accepted, ${bytes(s.bytes)}, ${number(s.requests)} requests`),
    s.rejected > 0 ? h("div", { class: "warn" }, `${number(s.rejected)} rejected: ${why.join(", ")} `,
      h("a", { href: `#/letters/${s.name}` }, "see them")) : null,
    s.source?.lag > 0 ? h("div", { class: "soft" },
      `${s.source.lag_unit === "bytes" ? bytes(s.source.lag) : number(s.source.lag) + " messages"} of its source to be read`) : null,
    s.source?.error ? h("div", { class: "bad", role: "alert" }, `its source is not read: ${s.source.error}`) : null,
    s.throttled + s.no_space > 0 ? h("div", { class: "warn" }, `${number(s.throttled)} requests throttled, ${number(s.no_space)} without room`) : null);
}

// How far the watermark is behind the newest event, and that behind the clock.
function lag(p) {
  const { watermark, max_event } = p.status;
  if (!watermark || !max_event) return h("div", { class: "soft" }, "no event yet");
  const behind = Math.max(0, Date.parse(max_event) - Date.parse(watermark));
  const old = Date.now() - Date.parse(max_event);
  return h("div", {}, `watermark ${span(behind)} behind the newest event`,
    old > 0 ? `, which is ${span(old)} old` : "");
}

function pipeline(p) {
  const t = p.status;
  const drops = DROPS.filter(([k]) => t[k] > 0).map(([k, word]) => `${number(t[k])} ${word}`);
  if (t.late_by_outcome?.drop > 0) drops.push(`${number(t.late_by_outcome.drop)} late`);
  return h("article", { class: "panel" },
    h("h2", {}, h("a", { href: `#/results/${p.name}` }, p.name),
      h("small", { class: "soft" }, ` from ${[p.from].flat().join(", ")}`)),
    t.error ? h("div", { class: "bad", role: "alert" }, `stopped: ${t.error}`) : null,
    t.partial ? h("div", { class: "warn" }, t.partial) : null,
    lag(p),
    h("div", { class: "soft" },
      `${number(t.events)} events, ${number(t.rows)} rows, ${number(t.groups)} groups open, ${bytes(t.state_bytes)} of states`,
      t.filtered > 0 ? `, ${number(t.filtered)} events left out by where` : "",
      t.queued > 0 ? `, ${number(t.queued)} entries queued` : ""),
    drops.length ? h("div", { class: "warn" }, `not counted: ${drops.join(", ")}`) : null);
}

function faults(seen) {
  const reload = seen.config?.last_reload;
  const out = [];
  if (seen.error) out.push(seen.error);
  if (seen.ready && !seen.ready.ready) out.push(seen.ready.detail ?? "not ready");
  if (reload && !reload.successful) out.push(`the configuration was not read again: ${reload.errors.join("; ")}`);
  return out.length ? h("section", { class: "panel bad", role: "alert" }, out.map((text) => h("div", {}, text))) : "";
}

// What the server has logged, for those who may see it.
function warnings(seen) {
  return grid("warnings", ["time", "level", "part", "message"].map((name) => ({ name, text: name === "message" })),
    seen.warnings.map((w) => [cell(w.time, "time").split(".")[0], w.level, w.part, w.message]));
}

export function overview(root) {
  const logged = h("div"), warned = h("section", { class: "panel", hidden: true }, h("h2", {}, "Warnings and errors"), logged);
  const wrong = h("div"), streams = h("div", { class: "grid" }), pipelines = h("div", { class: "grid" });
  const filter = h("input", { type: "search", "data-slash": true, placeholder: "name", oninput: () => show(last) });
  let last = null, newest = null;
  function show(seen) {
    last = seen;
    if (!seen) return;
    const fits = (x) => x.name.includes(filter.value.trim());
    wrong.replaceChildren(faults(seen));
    renew(streams, ...seen.streams.filter(fits).map((s) => stream(s, seen)));
    renew(pipelines, ...seen.pipelines.filter(fits).map(pipeline));
    const first = JSON.stringify(seen.warnings[0] ?? null);
    if (first === newest) return;
    newest = first;
    warned.hidden = seen.warnings.length === 0;
    renew(logged, warnings(seen));
  }
  root.append(h("h1", {}, "Overview"), wrong,
    h("div", { class: "row" }, h("label", {}, "Filter (/)", filter)),
    h("section", { "aria-labelledby": "h-streams" }, h("h2", { id: "h-streams" }, "Streams"), streams),
    h("section", { "aria-labelledby": "h-pipelines" }, h("h2", { id: "h-pipelines" }, "Pipelines"), pipelines),
    warned);
  return { show };
}
