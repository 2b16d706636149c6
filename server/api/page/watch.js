// What the server says of itself, asked once a second while somebody looks: streams, pipelines, health.
// Rates are differences of counters between two answers.

import { get, list } from "./net.js";

const EACH_MS = 1000;
const KEPT = 120; // rates of so many seconds, for the small charts

export const seen = {
  streams: [], pipelines: [], ready: null, config: null,
  rate: new Map(), // stream -> events a second
  past: new Map(), // stream -> the last KEPT of them
  warnings: [],
  error: null,
};

const listeners = new Set();
export function onLook(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

let last = null;

function rates(at, streams) {
  for (const s of streams) {
    const before = last?.count.get(s.name);
    if (before === undefined) continue;
    const rate = Math.max(0, s.accepted - before) / ((at - last.at) / 1000);
    const past = seen.past.get(s.name) ?? [];
    seen.rate.set(s.name, rate);
    seen.past.set(s.name, [...past, rate].slice(-KEPT));
  }
  last = { at, count: new Map(streams.map((s) => [s.name, s.accepted])) };
}

// What only some tokens may see is asked for until it was refused.
let refused = false;
async function warnings() {
  if (refused) return [];
  try {
    return await get("/api/v1/warnings");
  } catch (e) {
    refused = e.status === 403;
    return seen.warnings;
  }
}

async function look() {
  try {
    const [streams, pipelines, ready, config, warned] = await Promise.all([
      list("/api/v1/streams"), list("/api/v1/pipelines"), get("/ready"), get("/api/v1/config"), warnings()]);
    rates(performance.now(), streams);
    Object.assign(seen, { streams, pipelines, ready, config, warnings: warned, error: null });
  } catch (e) {
    seen.error = e.message;
  }
  for (const f of listeners) f(seen);
}

export async function watch() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, EACH_MS));
  }
}
