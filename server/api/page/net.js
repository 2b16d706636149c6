// Requests to the server that the page came from, and to nobody else.

const LIMIT_MS = 30000;

export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? `the server answered ${status}`);
    this.status = status;
    this.code = body?.code;
  }
}

// ---- The token, where the server wants one: asked for, and kept as long as the tab is open ----

const TOKEN = "weir.token";
let asking = null, declined = false; // closed without one: not asked for again until the page is loaded anew

// With some value in any case: the server then does not make the browser ask, too.
function said(headers) {
  return { ...headers, Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? "none"}` };
}

function askForToken(why) {
  asking = asking ?? new Promise((done) => {
    const dialog = document.getElementById("access"), field = document.getElementById("token");
    document.getElementById("access-why").textContent = why ?? "";
    field.value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      declined = !field.value.trim();
      if (!declined) sessionStorage.setItem(TOKEN, field.value.trim());
      field.value = "";
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function fetched(path, options) {
  for (;;) {
    const sent = sessionStorage.getItem(TOKEN);
    const answer = await fetch(path, { ...options, headers: said(options.headers), signal: options.signal ?? AbortSignal.timeout(LIMIT_MS), cache: "no-store" });
    if (answer.status !== 401 || declined) return answer;
    if (sent === sessionStorage.getItem(TOKEN)) await askForToken(sent ? (await answer.json().catch(() => null))?.detail : "");
    if (sent === sessionStorage.getItem(TOKEN)) return answer; // closed without one
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetched(path, options);
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

// What a token may not see is not there for it.
export const list = (path) => get(path).catch((e) => { if (e.status === 403) return []; throw e; });

export const get = async (path) => parse(await (await ask(path)).text());

export const remove = (path) => ask(path, { method: "DELETE" });

export const query = async (sql) =>
  parse(await (await ask(...statement(sql, "json"))).text());

// A whole answer, however long it takes; `cut` is why it has not all rows.
export async function file(path, options) {
  const answer = await ask(path, { ...options, signal: new AbortController().signal });
  try {
    return { blob: await answer.blob(), cut: answer.headers.get("Weir-Truncated") };
  } catch {
    throw new Problem(0, { detail: "the answer ended before its end: nothing is saved" });
  }
}

// What to ask for the answer to a statement.
export const statement = (sql, format) => ["/api/v1/sql", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql, format }),
}];

export const results = (pipeline, table, limit) =>
  get(`/api/v1/pipelines/${pipeline}/results/${table}?order=desc&limit=${limit}`);

// Those of windows that are still open.
export const openRows = (pipeline, table, limit) =>
  get(`/api/v1/pipelines/${pipeline}/results/${table}?live=only&order=desc&limit=${limit}`);

// ---- Server-Sent Events, by fetch: EventSource cannot send a token ----

const AGAIN_MS = 1000;

// {message(data), event(name)}; returns how to close it. Goes on where it was when the connection is lost.
export function events(path, listener) {
  const end = new AbortController();
  let last = null;

  function take(block) {
    let name = null;
    const data = [];
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      const value = line.slice(at + 1).replace(/^ /, "");
      if (line.startsWith("id:")) last = value;
      else if (line.startsWith("event:")) name = value;
      else if (line.startsWith("data:")) data.push(value);
    }
    if (name) listener.event(name);
    else if (data.length) listener.message(data.join("\n"));
  }

  async function read() {
    const answer = await fetched(path, { signal: end.signal, headers: last === null ? {} : { "Last-Event-ID": last } });
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let piece; !(piece = await reader.read()).done;) {
      const blocks = (text + piece.value).split("\n\n");
      text = blocks.pop();
      blocks.forEach(take);
    }
  }

  (async () => {
    while (!end.signal.aborted) {
      await read().catch(() => {});
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  })();
  return { close: () => end.abort() };
}
