// Elements from calls: h("p", {class: "soft"}, "text", child). Text is never read as HTML.

function make(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined));
  return element;
}

export const h = (tag, props, ...children) => make(document.createElement(tag), props, children);

export const svg = (tag, props, ...children) =>
  make(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

// A select with what there is to choose, under the names that `named` gives; keeps the choice when the choices change.
export function choose(label, onchange) {
  const list = h("select", { onchange: () => onchange(list.value) });
  return {
    element: h("label", {}, label, list),
    get value() { return list.value; },
    set value(v) { list.value = v; },
    offer(values, wanted, named = (v) => v || "(all)") {
      const old = [...list.options].map((o) => o.value);
      if (old.length !== values.length || old.some((v, i) => v !== values[i])) {
        const kept = list.value;
        list.replaceChildren(...values.map((v) => h("option", { value: v }, named(v))));
        list.value = values.includes(kept) ? kept : wanted ?? values[0] ?? "";
      }
      return list.value;
    },
  };
}

// A table of cells in a box that scrolls; columns: {name, number, text}; rows are lists of cells, `kind` of one its class.
export function grid(label, columns, rows) {
  const side = (c) => (c.number ? "number" : c.text ? "text" : null);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: side(c), title: c.help }, c.name)))),
      h("tbody", {}, rows.map((r) => h("tr", { class: r.kind }, r.map((cell, i) => h("td", { class: side(columns[i]) }, cell)))))));
}

const mark = (e) => e.getAttribute("href") ?? e.getAttribute("aria-label");

// What `parent` has, anew; with the focus where it was, and boxes scrolled as they were: somebody reads there.
export function renew(parent, ...children) {
  const focus = parent.contains(document.activeElement) ? mark(document.activeElement) : null;
  const scrolled = new Map([...parent.querySelectorAll(".scroll")].map((e) => [mark(e), [e.scrollLeft, e.scrollTop]]));
  parent.replaceChildren(...children);
  for (const e of parent.querySelectorAll(".scroll")) [e.scrollLeft, e.scrollTop] = scrolled.get(mark(e)) ?? [0, 0];
  if (focus !== null) [...parent.querySelectorAll("a, [tabindex]")].find((e) => mark(e) === focus)?.focus({ preventScroll: true });
}
