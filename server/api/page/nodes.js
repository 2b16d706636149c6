// The page at / of a node: which nodes there are, who runs which shard, how far each is.

import { grid, h, renew } from "./dom.js";
import { cell, number, span } from "./format.js";
import { get } from "./net.js";
import "./theme.js";

const EACH_MS = 1000;
const root = document.getElementById("view");

// From one time to another, "" where one of them is not known.
const between = (from, to) => (from && to ? span(Math.max(0, Date.parse(to) - Date.parse(from))) : "");

const link = (address, text) => (address ? h("a", { href: address }, text ?? address) : "");

function nodes(seen) {
  return grid("nodes", [{ name: "node" }, { name: "state" }, { name: "shards", number: true },
    { name: "left", number: true, help: "of its session, unless it says something" }, { name: "since" }, { name: "version" },
    { name: "configuration", help: "the first digits of its SHA-256" }, { name: "address" }],
  seen.nodes.map((n) => Object.assign([n.node === seen.node ? h("b", {}, n.node) : n.node, n.state, number(n.shards), between(seen.at, n.until),
    cell(n.since, "time").split(".")[0], n.version, n.definition.slice(0, 8), link(n.address)],
  { kind: n.state === "lives" ? null : n.state === "over" ? "bad" : "warn" })));
}

function shards(seen) {
  return grid("shards", [{ name: "shard", number: true }, { name: "node" }, { name: "state" },
    { name: "not read", number: true, help: "messages of Kafka that its server has not read yet" },
    { name: "here for", number: true }, { name: "epoch", number: true, help: "how often it has been taken over" },
    { name: "copied", number: true, help: "how long ago its database was copied to PostgreSQL" }, { name: "partitions" }, { name: "address" }],
  seen.shards.map((s) => Object.assign([s.shard, s.node ?? "nobody", s.state.replace("_", " "), s.lag === null ? "" : number(s.lag),
    between(s.since, seen.at), s.epoch ?? "", between(s.copied, seen.at), s.partitions.join(", "), link(s.address)],
  { kind: s.state === "ready" ? null : s.state === "starts" || s.state === "restarts" ? "warn" : "bad" })));
}

// What nodes that live should have in common.
function differences(seen) {
  const living = seen.nodes.filter((n) => n.state === "lives");
  const several = (what) => new Set(living.map((n) => n[what])).size > 1;
  return [several("version") ? "nodes run different versions" : null,
    several("definition") ? "nodes have different configurations" : null].filter(Boolean);
}

function wrong(seen, ready, error) {
  const bad = [error, ready && !ready.ready ? ready.detail ?? "not ready" : null,
    ...seen?.shards.filter((s) => s.problem).map((s) => `shard ${s.shard}: ${s.problem}`) ?? []].filter(Boolean);
  const warn = seen ? differences(seen) : [];
  return [bad.length ? h("section", { class: "panel bad", role: "alert" }, bad.map((text) => h("div", {}, text))) : null,
    warn.length ? h("section", { class: "panel warn" }, warn.map((text) => h("div", {}, text))) : null].filter(Boolean);
}

function figure(name, text) {
  return h("article", { class: "panel" }, h("h2", {}, name), h("div", { class: "figure" }, text));
}

function figures(seen) {
  const ready = seen.shards.filter((s) => s.state === "ready").length;
  const known = seen.shards.filter((s) => s.lag !== null);
  return [figure("Nodes that live", number(seen.nodes.filter((n) => n.state === "lives").length)),
    figure("Shards ready", `${number(ready)} of ${number(seen.shards.length)}`),
    figure("Messages not read", known.length ? number(known.reduce((sum, s) => sum + s.lag, 0)) : "–")];
}

function health(ready, error) {
  const el = document.getElementById("health");
  const good = !error && ready?.ready;
  el.className = good ? "good" : "bad";
  const text = error ?? (good ? "ready" : ready?.detail ?? "not ready");
  if (el.textContent !== text) el.textContent = text;
}

const faults = h("div"), top = h("div", { class: "grid" }), who = h("div"), what = h("div");
root.append(h("h1", {}, "Nodes"), faults, h("section", {}, top),
  h("section", { class: "panel" }, h("h2", {}, "Nodes"), who), h("section", { class: "panel" }, h("h2", {}, "Shards"), what));

let seen = null, ready = null;

async function look() {
  let error = null;
  try {
    [seen, ready] = await Promise.all([get("/api/v1/nodes"), get("/ready")]);
  } catch (e) {
    error = e.message;
  }
  health(ready, error);
  renew(faults, ...wrong(seen, ready, error));
  if (!seen || error) return;
  renew(top, ...figures(seen));
  renew(who, nodes(seen));
  renew(what, shards(seen));
  document.getElementById("version").textContent = `node ${seen.node}, weir ${seen.nodes.find((n) => n.node === seen.node)?.version ?? ""}`;
}

async function watch() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, EACH_MS));
  }
}
watch();
