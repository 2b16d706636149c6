// A console for SQL: a statement, its answer as a table and, where it can be, as a chart; what was asked before.

import { BARS, bars, COLORS, lines } from "./chart.js";
import { grid, h } from "./dom.js";
import { download } from "./download.js";
import { cell, number, span } from "./format.js";
import { query, statement } from "./net.js";

const KEPT = 50, SHOWN = 1000;
const HISTORY = "weir.statements";

function before() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY)) ?? [];
  } catch {
    return [];
  }
}

function remember(sql) {
  const all = [sql, ...before().filter((s) => s !== sql)].slice(0, KEPT);
  try {
    localStorage.setItem(HISTORY, JSON.stringify(all));
  } catch { /* a browser that keeps nothing */ }
}

const isNumber = (v) => typeof v === "number" || typeof v === "bigint";
const isTime = (name) => /(^|_)(start|end|time|at)$/.test(name);

// What to draw of an answer: {lines} where the first column is a time or a number, {bars} where it is text.
export function drawing({ columns, rows }) {
  const numbers = columns.map((_, i) => i).filter((i) => rows.length > 0 && rows.every((r) => r[i] === null || isNumber(r[i])));
  const time = numbers.find((i) => isTime(columns[i]));
  const values = numbers.filter((i) => !isTime(columns[i]));
  const text = columns.findIndex((_, i) => !numbers.includes(i));
  if (values.length === 0 || rows.length < 2) return null;
  if (time === undefined && text >= 0)
    return { bars: rows.slice(0, BARS).map((r) => ({ name: String(r[text]), value: Number(r[values[0]] ?? 0) })) };
  const at = time ?? values.shift();
  if (values.length === 0) return null;
  const scale = time === undefined ? 1 : 1000; // microseconds are stored
  const groups = new Map();
  for (const row of rows) {
    for (const v of text >= 0 ? values.slice(0, 1) : values) {
      const name = text >= 0 ? String(row[text]) : columns[v];
      if (!groups.has(name)) groups.set(name, new Map());
      groups.get(name).set(Number(row[at]) / scale, row[v] === null ? null : Number(row[v]));
    }
  }
  const x = [...new Set(rows.map((r) => Number(r[at]) / scale))].sort((a, b) => a - b);
  return {
    lines: {
      x, time: time !== undefined,
      series: [...groups].slice(0, COLORS).map(([name, g]) => ({ name, y: x.map((t) => g.get(t) ?? null) })),
    },
  };
}

export function consoleView(root) {
  const chart = lines("the answer as lines");
  const said = h("p", { role: "status" }), answer = h("div"), plot = h("div", { class: "panel", hidden: true }), old = h("ul"), tables = h("ul");
  let known = "";
  const text = h("textarea", { rows: 6, spellcheck: "false", "data-slash": true, "aria-label": "SQL statement",
    onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); } } });
  const button = h("button", { class: "main", type: "button", onclick: () => run() }, "Run (Ctrl Enter)");
  let answered = "";
  const whole = h("section", { class: "panel", hidden: true }, download("Download", (format) => {
    const [path, options] = statement(answered, format);
    return { name: "answer", path, options };
  }), answer);
  text.value = before()[0] ?? "SELECT * FROM weir_pipelines";

  function list() {
    old.replaceChildren(...before().map((sql) =>
      h("li", {}, h("button", { type: "button", onclick: () => { text.value = sql; text.focus(); } }, sql))));
  }

  // What can be asked: a choice writes the statement.
  function show(seen) {
    const all = seen.pipelines.flatMap((p) => p.tables), names = all.map((t) => t.name).join();
    if (names === known) return;
    known = names;
    tables.replaceChildren(...all.map((t) => h("li", {}, h("button", { type: "button", onclick: () => {
      text.value = `SELECT * FROM ${t.name}_readable LIMIT 100`;
      text.focus();
    } }, t.name), ` ${t.columns.map((c) => c.name).join(", ")}`)));
  }

  async function run() {
    const sql = text.value.trim();
    if (!sql) return;
    button.disabled = true;
    said.className = "soft";
    said.textContent = "running";
    const began = performance.now();
    try {
      const got = await query(sql);
      answered = sql;
      whole.hidden = false;
      remember(sql);
      list();
      said.textContent = `${number(got.rows.length)} rows in ${span(performance.now() - began)}` +
        (got.truncated ? `; there are more: cut by ${got.reason}` : "") +
        (got.rows.length > SHOWN ? `; the first ${number(SHOWN)} are shown` : "");
      const is = got.columns.map((_, i) => ({ number: got.rows.some((r) => isNumber(r[i])) }));
      answer.replaceChildren(grid("answer", got.columns.map((name, i) => ({ name, ...is[i] })),
        got.rows.slice(0, SHOWN).map((r) => r.map((v, i) => (isTime(got.columns[i]) && isNumber(v) ? String(v) : cell(v))))));
      const what = drawing(got);
      plot.hidden = !what;
      if (what?.lines) {
        plot.replaceChildren(chart.element);
        chart.show(what.lines);
      } else if (what) plot.replaceChildren(bars(what.bars));
    } catch (e) {
      said.className = "bad";
      said.textContent = e.message;
    }
    button.disabled = false;
  }

  list();
  root.append(h("h1", {}, "SQL"),
    h("section", { class: "panel" }, text, h("div", { class: "row" }, button), said),
    h("section", {}, plot), whole,
    h("details", { class: "panel" }, h("summary", {}, "Tables"), tables),
    h("details", { class: "panel" }, h("summary", {}, "Asked before"), old));
  return { show };
}
