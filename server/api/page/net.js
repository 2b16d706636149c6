// Requests to the server that the page came from, and to nobody else.

const LIMIT_MS = 30000;

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.code;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(LIMIT_MS), cache: "no-store" });
  } catch (e) {
    throw new Problem(0, { detail: e.name === "TimeoutError" ? "no answer within 30 s" : "the server cannot be reached" });
  }
  if (answer.ok || answer.status === 503 && path === "/ready") return answer;
  throw new Problem(answer.status, await answer.json().catch(() => null));
}

// Integers beyond 2^53 stay what they are, where the browser says how they are written.
export const parse = (text) => JSON.parse(text, (name, value, context) =>
  (typeof value === "number" && context?.source && Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source)
    ? BigInt(context.source) : value));

export const get = async (path) => parse(await (await ask(path)).text());

export const remove = (path) => ask(path, { method: "DELETE" });

export const query = async (sql) =>
  parse(await (await ask("/api/v1/sql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sql, format: "json" }),
  })).text());

export const results = (pipeline, table, limit) =>
  get(`/api/v1/pipelines/${pipeline}/results/${table}?order=desc&limit=${limit}`);

// Those of windows that are still open.
export const openRows = (pipeline, table, limit) =>
  get(`/api/v1/pipelines/${pipeline}/results/${table}?live=only&order=desc&limit=${limit}`);
