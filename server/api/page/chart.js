// Charts in SVG: lines over time, bars. Written small; no library.

import { h, svg } from "./dom.js";
import { moment, number, short } from "./format.js";

export const COLORS = 8, BARS = 40;
const LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 22;

// Round numbers between least and most, about n of them.
export function ticks(least, most, n) {
  const rough = (most - least) / n || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const out = [];
  for (let k = Math.ceil(least / step); k * step <= most + step * 1e-9; k++) out.push(k * step);
  return out;
}

const SECOND = 1000, DAY = 86400 * SECOND;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200].map((s) => s * SECOND);

// Round times between first and last, about n of them.
export function moments(first, last, n) {
  const rough = (last - first) / n;
  const step = STEPS.find((s) => s >= rough) ?? Math.ceil(rough / DAY) * DAY;
  const out = [];
  for (let t = Math.ceil(first / step) * step; t <= last; t += step) out.push(t);
  return out.length ? out : [first];
}

// Several values may be missing: the line has a gap there.
function path(xs, ys, x, y) {
  let d = "", down = false;
  xs.forEach((at, i) => {
    if (ys[i] === null || ys[i] === undefined) { down = false; return; }
    d += `${down ? "L" : "M"}${x(at).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    if (!down && (ys[i + 1] === null || ys[i + 1] === undefined)) d += "m-2 0h4"; // alone: a dash
    down = true;
  });
  return d;
}

// data: {x: [ms, ascending], series: [{name, y: [number or null], open: the same, dashed}], time: x is a time,
// newest: index of the x that is shown at first, or none: the last}
export function lines(label) {
  const box = h("div", { tabindex: "0", role: "img", "aria-label": label });
  const legend = h("ul", { class: "legend", "aria-live": "off" });
  const element = h("div", { class: "chart" }, box, legend);
  let data = null, at = null, width = 0;
  const first = () => data.newest ?? data.x.length - 1;

  function place(x) { // the index of the x that is nearest
    let best = 0;
    data.x.forEach((v, i) => { if (Math.abs(v - x) < Math.abs(data.x[best] - x)) best = i; });
    return best;
  }

  function draw() {
    width = box.clientWidth || 600;
    const height = width < 500 ? 200 : 260;
    if (!data || data.x.length === 0) {
      box.replaceChildren(h("p", { class: "soft" }, "Nothing to draw yet."));
      legend.replaceChildren();
      return;
    }
    const all = data.series.flatMap((s) => [...s.y, ...s.open ?? []]).filter((v) => v !== null && v !== undefined);
    let low = Math.min(...all), high = Math.max(...all);
    if (low > 0 && low < (high - low) * 2) low = 0;
    if (low === high) { low -= Math.abs(low) * 0.05 || 1; high += Math.abs(high) * 0.05 || 1; }
    const x0 = data.x[0], x1 = data.x[data.x.length - 1];
    const x = (v) => LEFT + (x1 === x0 ? 0.5 : (v - x0) / (x1 - x0)) * (width - LEFT - RIGHT);
    const y = (v) => TOP + (1 - (v - low) / (high - low)) * (height - TOP - BOTTOM);
    const say = (v) => (data.time ? moment(v, x1 - x0) : short(v));
    const marks = data.time ? moments(x0, x1, Math.max(2, width / 110)) : ticks(x0, x1, width / 110);
    const index = at ?? first();
    box.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" },
      ticks(low, high, 5).map((v) => [
        svg("line", { class: "gridline", x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v) }),
        svg("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, short(v))]),
      marks.map((v) => svg("text", { x: Math.min(x(v), width - RIGHT - 26), y: height - 6, "text-anchor": "middle" }, say(v))),
      data.series.map((s, i) => svg("path", { class: `series c${i % COLORS}`, d: path(data.x, s.y, x, y) })),
      data.series.map((s, i) => s.open && svg("path", { class: `unfinished c${i % COLORS}`, d: path(data.x, s.open, x, y) })),
      at === null ? null : svg("line", { class: "cross", x1: x(data.x[index]), x2: x(data.x[index]), y1: TOP, y2: height - BOTTOM })));
    legend.replaceChildren(
      h("li", { class: "soft" }, data.time ? `${moment(data.x[index])} UTC` : number(data.x[index])),
      ...data.series.map((s, i) => h("li", {}, h("i", { class: `c${i % COLORS}` }), h("span", { title: s.name }, s.name),
        h("b", {}, number(s.y[index] ?? s.open?.[index]) || "–"))));
  }

  function point(event) {
    if (!data?.x.length) return;
    const x0 = data.x[0], x1 = data.x[data.x.length - 1];
    const part = (event.offsetX - LEFT) / (width - LEFT - RIGHT);
    at = place(x0 + part * (x1 - x0));
    draw();
  }

  box.addEventListener("pointermove", point);
  box.addEventListener("pointerleave", () => { at = null; draw(); });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !data?.x.length) return;
    event.preventDefault();
    at = Math.min(data.x.length - 1, Math.max(0, (at ?? first()) + step));
    legend.setAttribute("aria-live", "polite");
    draw();
  });
  new ResizeObserver(() => { if (box.clientWidth !== width) draw(); }).observe(box);
  return {
    element,
    show(next) {
      data = next;
      if (at !== null && at >= (data?.x.length ?? 0)) at = null;
      draw();
    },
  };
}

// items: [{name, value}], the largest first or in the order of their rank
export function bars(items) {
  const most = Math.max(...items.map((i) => i.value), 0) || 1;
  return h("div", { class: "bars" }, items.flatMap((item, i) => {
    const bar = h("div", { class: `bar c${i % COLORS}`, "aria-hidden": "true" });
    bar.style.width = `${Math.max(0, item.value) / most * 100}%`;
    return [h("span", { class: "name", title: item.name }, item.name), bar, h("span", { class: "value" }, number(item.value))];
  }));
}

// A small line without axes.
export function spark(values, label) {
  const w = 240, t = 36, most = Math.max(...values, 1);
  const x = (i) => (values.length < 2 ? w : i / (values.length - 1) * w);
  const y = (v) => t - 2 - v / most * (t - 4);
  return svg("svg", { viewBox: `0 0 ${w} ${t}`, height: t, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("path", { class: "series c0", d: path(values.map((_, i) => i), values, x, y) }));
}
