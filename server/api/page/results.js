// Results of one table: lines over time, or bars where rows have a rank or all time is one window; the newest rows; why a
// window is still open.

import { BARS, bars, COLORS, lines } from "./chart.js";
import { choose, grid, h, renew } from "./dom.js";
import { download } from "./download.js";
import { cell, number } from "./format.js";
import { events, get, openRows, parse, results } from "./net.js";

const ROWS = 2000, SHOWN = 100;

const isNumber = (c) => (c.type === "int" || c.type === "float") && !c.key;

// What orders the rows of a table: the windows, or, where there are none (`window: none`), the time of the events.
const timeOf = (t) => (t.columns.find((c) => c.name === "window_start") ?? t.columns.find((c) => c.type === "time" && c.key)).name;

// The columns whose values name a row's group: the key's but the window's and the rank; of events the first text.
function groupColumns(t) {
  if (timeOf(t) !== "window_start") return t.columns.filter((c) => c.type === "string").slice(0, 1).map((c) => c.name);
  return t.columns.filter((c) => c.key && c.name !== "window_start" && c.name !== "rank").map((c) => c.name);
}

const groupOf = (row, keys) => keys.map((k) => row[k] ?? "null").join(" / ");

// rows, newest first -> the data of a chart, of the groups whose newest values are the largest; those of open windows apart
export function series(rows, keys, value, time) {
  const groups = new Map(), times = new Set(), open = new Set();
  for (const row of rows) {
    const at = Date.parse(row[time]), name = groupOf(row, keys);
    if (!groups.has(name)) groups.set(name, new Map());
    groups.get(name).set(at, row[value] === null ? null : Number(row[value]));
    if (row.open) open.add(at);
    times.add(at);
  }
  const x = [...times].sort((a, b) => a - b);
  const newest = (g) => [...g.values()][0] ?? -Infinity;
  const largest = [...groups].sort((a, b) => newest(b[1]) - newest(a[1])).slice(0, COLORS)
    .sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const newest_closed = x.findLastIndex((at) => !open.has(at));
  const shown = (g, wanted) => x.map((at, i) => (wanted(at, i) ? g.get(at) ?? null : null));
  return {
    x, time: true, left: groups.size - largest.length, newest: newest_closed < 0 ? undefined : newest_closed,
    series: largest.map(([name, g]) => ({
      name: name || value, y: shown(g, (at) => !open.has(at)),
      open: open.size ? shown(g, (at, i) => open.has(at) || open.has(x[i + 1])) : undefined,
    })),
  };
}

export function resultsView(root, [name, wanted]) {
  const chart = lines("results over time; left and right arrow keys go through the windows");
  const tops = h("div"), table = h("div"), open = h("div", { class: "panel" }), note = h("p", { class: "soft" });
  const dashed = h("p", { class: "soft", hidden: true }, "Dashed, and in italics: windows that are still open.");
  const pipeline = choose("Pipeline", (v) => { location.hash = `#/results/${v}`; });
  const which = choose("Table", (v) => { location.hash = `#/results/${pipeline.value}/${v}`; });
  const column = choose("Value", () => draw());
  const only = choose("Key", () => draw());
  let rows = [], unfinished = [], now = null, read = null, busy = false, source = null;

  const whole = download("Download all", (format) =>
    ({ name: which.value, path: `/api/v1/pipelines/${pipeline.value}/results/${which.value}?format=${format}&limit=all` }));

  const shape = () => now?.tables.find((t) => t.name === which.value);

  function draw() {
    const t = shape();
    if (!t) return;
    const ranked = t.columns.some((c) => c.name === "rank");
    const keys = groupColumns(t), time = timeOf(t), global = now.window_kind === "global" && !ranked;
    const numbers = t.columns.filter(isNumber).map((c) => c.name);
    const value = column.offer([...numbers.filter((n) => n !== "revision"), ...numbers.filter((n) => n === "revision")]);
    const names = [...new Set(rows.map((r) => groupOf(r, keys)))].sort();
    const chosen = only.offer(ranked ? names : ["", ...names]);
    const part = chosen ? rows.filter((r) => groupOf(r, keys) === chosen) : rows;
    const key = (r) => t.columns.filter((c) => c.key).map((c) => r[c.name]).join("\n"), closed = new Set(rows.map(key));
    const open_part = unfinished.filter((r) => (!chosen || groupOf(r, keys) === chosen) && (ranked || r.revision || !closed.has(key(r))));
    const both = [...open_part, ...part];
    chart.element.hidden = ranked || global || !value;
    tops.hidden = !ranked && !global;
    dashed.hidden = open_part.length === 0;
    if (ranked) {
      const text = t.columns.find((c) => !c.key && !isNumber(c) && c.type !== "time")?.name ??
        t.columns.find((c) => !c.key && c.type !== "time")?.name;
      const newest = part.filter((r) => r.window_start === part[0]?.window_start).sort((a, b) => a.rank - b.rank);
      tops.replaceChildren(h("p", { class: "soft" }, newest.length ? `window ${cell(newest[0].window_start, "time")}` : "no window has closed yet"),
        bars(newest.map((r) => ({ name: String(r[text]), value: Number(r[value] ?? 0) }))));
      note.textContent = "";
    } else if (global && value) {
      const newest = new Map([...part, ...open_part].map((r) => [groupOf(r, keys), r]));
      const items = [...newest].map(([key, r]) => ({ name: key || value, value: Number(r[value] ?? 0) })).sort((a, b) => b.value - a.value);
      tops.replaceChildren(bars(items.slice(0, BARS)));
      note.textContent = items.length > BARS ? `The ${BARS} largest of ${number(items.length)} keys.` : "";
    } else if (value) {
      const data = series(both, keys, value, time);
      chart.show(data);
      note.textContent = data.left > 0 ? `The ${COLORS} largest of ${number(data.left + COLORS)} keys; choose one to see it alone.` : "";
    }
    renew(table, grid(`rows of ${t.name}`,
      t.columns.map((c) => ({ name: c.name, help: c.help, number: isNumber(c) })),
      both.slice(0, SHOWN).map((r) => Object.assign(
        t.columns.map((c) => (c.key && c.type === "int" ? String(r[c.name]) : cell(r[c.name], c.type))),
        r.open ? { kind: "unfinished" } : {}))));
  }

  // Rows as they are committed, drawn once a frame.
  function follow(t) {
    source?.close();
    const keys = t.columns.filter((c) => c.key).map((c) => c.name), time = timeOf(t);
    const key = (r) => keys.map((k) => r[k]).join("\n");
    let fresh = [];
    function message(data) {
      fresh.push(parse(data));
      if (fresh.length > 1) return;
      requestAnimationFrame(() => {
        const all = new Map([...rows, ...fresh].map((r) => [key(r), r]));
        rows = [...all.values()].sort((a, b) => (a[time] < b[time] ? 1 : a[time] > b[time] ? -1 : 0)).slice(0, ROWS);
        fresh = [];
        draw();
      });
    }
    source = events(`/api/v1/pipelines/${now.name}/results/${t.name}/live`,
      { message, event: (name) => { if (name === "lost") read = null; } });
  }

  async function load() {
    const t = shape();
    if (!t || busy) return;
    busy = true;
    try {
      if (read !== t.name) {
        follow(t); // first, so that no row is between the two
        rows = await results(now.name, t.name, ROWS);
        read = t.name;
      }
      unfinished = await openRows(now.name, t.name, SHOWN).catch(() => []); // too many of them: none
      draw();
      waits(await get(`/api/v1/pipelines/${now.name}/watermarks`));
    } catch (e) {
      note.textContent = e.message;
    }
    busy = false;
  }

  function waits(why) {
    renew(open, h("h2", {}, "Open windows"),
      h("p", {}, why.waits_for ?? "nothing is open"),
      grid("sources", [{ name: "source" }, { name: "newest event" }, { name: "watermark" }, { name: "" }],
        why.sources.map((s) => [s.name || "(without a name)", cell(s.max_event, "time"), cell(s.watermark, "time"),
          s.idle ? "idle" : why.waits_for && s.holds_back ? "holds windows open" : ""])));
  }

  function show(seen) {
    const names = seen.pipelines.map((p) => p.name);
    if (!names.length || (name && !names.includes(name))) {
      note.textContent = names.length ? `There is no pipeline ${name}.` : "There are no pipelines.";
      chart.element.hidden = true;
      return;
    }
    pipeline.offer(names, name);
    now = seen.pipelines.find((p) => p.name === pipeline.value);
    which.offer(now.tables.map((t) => t.name), wanted);
    load();
  }

  root.append(h("h1", {}, "Results"),
    h("div", { class: "row" }, pipeline.element, which.element, column.element, only.element),
    h("section", { class: "panel" }, chart.element, tops, note),
    h("section", {}, open),
    h("section", { class: "panel" }, h("h2", {}, "Newest rows"),
      dashed, whole, table));
  return { show, close: () => source?.close() };
}
