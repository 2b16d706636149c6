// Numbers and times for people.

export function number(v) {
  if (v === null || v === undefined) return "";
  if (typeof v === "bigint") return v.toLocaleString("en-US");
  if (typeof v !== "number") return String(v);
  const size = Math.abs(v);
  if (Number.isInteger(v)) return v.toLocaleString("en-US");
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return v.toExponential(3);
  return v.toLocaleString("en-US", { maximumFractionDigits: size < 1 ? 5 : size < 1000 ? 3 : 1 });
}

export function short(v) {
  const size = Math.abs(v);
  for (const [least, word] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (size >= least) return `${+(v / least).toPrecision(3)}${word}`;
  return String(+v.toPrecision(3));
}

export function bytes(v) {
  return v < 1e3 ? `${v} B` : `${short(v).replace(/[kMG]?$/, " $&B")}`;
}

// A span of milliseconds: 250 ms, 1.5 s, 3 min, 2 h, 5 d.
export function span(ms) {
  if (ms < 1e3) return `${Math.round(ms)} ms`;
  for (const [least, divisor, word] of [[864e5, 864e5, "d"], [36e5, 36e5, "h"], [12e4, 6e4, "min"]])
    if (ms >= least) return `${+(ms / divisor).toPrecision(2)} ${word}`;
  return `${+(ms / 1e3).toPrecision(3)} s`;
}

const pad = (v) => String(v).padStart(2, "0");

// Milliseconds since 1970 as UTC: of a day the time, else the date, too.
export function moment(ms, span_ms) {
  const d = new Date(ms);
  const date = `${d.getUTCFullYear()}-${pad(d.getUTCMonth() + 1)}-${pad(d.getUTCDate())}`;
  const time = `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}:${pad(d.getUTCSeconds())}`;
  if (span_ms === undefined) return `${date} ${time}`;
  return span_ms < 864e5 ? time : span_ms < 40 * 864e5 ? `${date.slice(5)} ${time.slice(0, 5)}` : date;
}

// A cell as it is stored, for a table.
export function cell(value, type) {
  if (value === null || value === undefined) return "";
  if (type === "time") return String(value).replace("T", " ").replace("Z", "");
  return typeof value === "number" || typeof value === "bigint" ? number(value) : String(value);
}
