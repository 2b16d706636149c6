// The configuration as a graph: streams, the pipelines that read them, their tables.

import { h, renew, svg } from "./dom.js";

const WIDE = 190, TALL = 44, GAP_X = 70, GAP_Y = 16;

// Nodes in columns: a node stands one behind the last of what it comes from.
export function layout(streams, pipelines) {
  const nodes = new Map(), edges = [];
  for (const s of streams) nodes.set(s.name, { name: s.name, kind: "stream", column: 0 });
  const reads = new Map(pipelines.map((p) => [p.name, [p.from].flat()]));
  const depth = (name) => (reads.has(name) ? 1 + Math.max(...reads.get(name).map(depth)) : 0);
  for (const p of pipelines) {
    nodes.set(p.name, { name: p.name, kind: p.window_kind === "none" ? "rows" : `${p.window_kind} ${p.window ?? ""}`, column: depth(p.name),
      failed: Boolean(p.status?.error), href: `#/results/${p.name}` });
    for (const from of reads.get(p.name)) edges.push([from, p.name]);
  }
  const last = Math.max(0, ...[...nodes.values()].map((n) => n.column)) + 1;
  for (const p of pipelines)
    for (const t of p.tables) {
      const id = `table ${t.name}`;
      nodes.set(id, { name: t.name, kind: `table, ${t.columns.length} columns`, column: last, href: `#/results/${p.name}/${t.name}` });
      edges.push([p.name, id]);
    }
  const filled = [];
  for (const n of nodes.values()) {
    n.row = filled[n.column] = (filled[n.column] ?? -1) + 1;
    n.x = 10 + n.column * (WIDE + GAP_X);
    n.y = 10 + n.row * (TALL + GAP_Y);
  }
  return { nodes, edges, width: 20 + (last + 1) * (WIDE + GAP_X) - GAP_X, height: 20 + Math.max(1, ...filled.map((r) => (r ?? 0) + 1)) * (TALL + GAP_Y) };
}


export function graphView(root) {
  const box = h("div", { class: "scroll panel", tabindex: "0", role: "region", "aria-label": "graph of the configuration" });
  let drawn = "";
  function show(seen) {
    const now = JSON.stringify([seen.streams.map((s) => s.name), seen.pipelines.map((p) => [p.name, p.from, p.window_kind, p.window, p.tables.length, p.status?.error])]);
    if (now === drawn) return;
    drawn = now;
    const { nodes, edges, width, height } = layout(seen.streams, seen.pipelines);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height },
      edges.map(([a, b]) => {
        const from = nodes.get(a), to = nodes.get(b);
        if (!from || !to) return null;
        const x1 = from.x + WIDE, y1 = from.y + TALL / 2, x2 = to.x, y2 = to.y + TALL / 2, half = (x1 + x2) / 2;
        return svg("path", { class: "edge", d: `M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}` });
      }),
      [...nodes.values()].map((n) => {
        const inside = svg("g", { class: n.failed ? "node failed" : "node", transform: `translate(${n.x} ${n.y})` },
          svg("rect", { width: WIDE, height: TALL, rx: 6 }),
          svg("text", { x: 10, y: 19 }, cut(n.name, 24)),
          svg("text", { x: 10, y: 35, class: "kind" }, cut(n.kind, 30)));
        return n.href ? svg("a", { href: n.href }, inside) : inside;
      }));
    drawing.style.width = `${width}px`;
    renew(box, drawing);
  }
  root.append(h("h1", {}, "Graph"), box);
  return { show };
}

const cut = (text, n) => (text.length > n ? `${text.slice(0, n - 1)}…` : text);
