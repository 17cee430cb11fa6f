"use strict";
// What all pages share.  Everything shown was written by agents, models and tools: it goes into
// text nodes and attributes that run nothing, never into markup.
const view = { pages: {}, state: { live: false, version: -1, overview: null } };

const SVG = "http://www.w3.org/2000/svg";

// el("div", {class: "x", onclick: f}, child, "text", [more]) -> an element
view.el = (tag, props, ...children) => {
  const [name, kind] = tag.split(":");
  const made = kind === "svg" ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || (value === false && !key.startsWith("aria-"))) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true && !key.startsWith("aria-") ? "" : String(value));
  }
  made.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
};

const embedded = (() => {
  const found = document.getElementById("answers");
  return found ? JSON.parse(found.textContent) : null;
})();
view.isReport = embedded !== null;

view.api = async (path, params = {}) => {
  if (embedded) return embedded[path] ?? null;
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
  const parts = path.split("/").map(encodeURIComponent).join("/");
  const answer = await fetch(query.size ? `${parts}?${query}` : parts);
  if (answer.status === 404) return null;
  if (answer.status === 403) throw new Error("The link has expired: open the one that `kaizen-otel view` printed last.");
  if (!answer.ok) throw new Error(`The viewer answered ${answer.status}.`);
  return answer.json();
};

// Routes: #/page/part?name=value
view.route = () => {
  const text = location.hash.replace(/^#\/?/, "") || "traces";
  const [path, query] = [text.split("?")[0], text.split("?").slice(1).join("?")];
  const [page, ...rest] = path.split("/");
  return { page, part: decodeURIComponent(rest.join("/")), params: Object.fromEntries(new URLSearchParams(query)) };
};
view.link = (page, part = "", params = {}) => {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value));
  const place = part ? `/${part.split("/").map(encodeURIComponent).join("/")}` : "";
  return `#/${page}${place}${query.size ? `?${query}` : ""}`;
};
view.go = (...where) => { location.hash = view.link(...where); };
// Note where we are without a new page in the history.
view.note = (...where) => { history.replaceState(null, "", view.link(...where)); };

const pad = (number, width = 2) => String(number).padStart(width, "0");
view.date = (ns) => new Date(Number(BigInt(ns || 0) / 1000000n));
view.clock = (ns) => {
  const d = view.date(ns);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
};
view.day = (ns) => { const d = view.date(ns); return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`; };
view.moment = (ns) => (view.day(ns) === view.day(String(Date.now()) + "000000") ? "" : `${view.day(ns)} `) + view.clock(ns);
view.took = (ms) => {
  if (ms >= 60000) return `${(ms / 60000).toFixed(1)} min`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${(ms * 1000).toFixed(0)} µs`;
};
view.count = (number) => Number(number).toLocaleString("en");
view.short = (number) => {
  const n = Number(number), a = Math.abs(n);
  if (a >= 1e9) return `${(n / 1e9).toFixed(1)}G`;
  if (a >= 1e6) return `${(n / 1e6).toFixed(1)}M`;
  if (a >= 1e4) return `${(n / 1e3).toFixed(1)}k`;
  if (a >= 100 || Number.isInteger(n)) return String(Math.round(n));
  return String(Number(n.toPrecision(3)));
};
view.plural = (number, word) => `${view.count(number)} ${word}${Number(number) === 1 ? "" : "s"}`;
view.text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

view.badge = (text, kind = "") => view.el("span", { class: `badge ${kind}` }, text);
view.empty = (title, text) => view.el("p", { class: "empty" }, view.el("b", {}, title), text || "");

view.pairs = (attributes) => view.el("table", { class: "pairs" }, view.el("tbody", {},
  Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) =>
    view.el("tr", {}, view.el("td", {}, key), view.el("td", {}, view.text(value))))));

view.group = (title, attributes) => (Object.keys(attributes).length
  ? [view.el("div", { class: "group" }, title), view.pairs(attributes)] : []);

view.kind = (operation, name = "") => {
  const text = operation || name.split(" ")[0];
  if (/agent|workflow/.test(text)) return "agent";
  if (/^(chat|text_completion|generate|embeddings|inference)/.test(text)) return "model";
  if (/tool/.test(text)) return "tool";
  if (/memory|retrieval/.test(text)) return "memory";
  return "other";
};

// Rows that can be chosen with arrow keys, j and k.
view.choose = (container, selector, step) => {
  const rows = [...container.querySelectorAll(selector)];
  if (!rows.length) return null;
  const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next.click();
  next.scrollIntoView({ block: "nearest" });
  return next;
};
