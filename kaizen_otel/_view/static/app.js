"use strict";
(() => {
  const { el } = view;
  const page = document.getElementById("page");
  const query = document.getElementById("query");
  const liveButton = document.getElementById("live");
  const order = ["traces", "conversations", "metrics", "logs", "audit"];
  const KEYS = [["/", "search"], ["g t, g c, g m, g l, g a", "traces, conversations, metrics, logs, audit"], ["j k ↓ ↑", "next, previous"],
    ["Enter", "open a record"], ["Esc", "leave the search, or forget it"], ["l", "live"], ["d", "light or dark"], ["?", "this list"]];

  // ------------------------------------------------------------------ drawing
  let drawing = 0;
  const draw = async () => {
    const mine = (drawing += 1);
    const route = view.route();
    const current = view.pages[route.page] || view.pages.traces;
    try {
      view.again = false;
      if (!view.state.overview || view.state.live) await look();
      navigation(route.page);
      const target = el("main", {});
      await current.render(target, route);
      if (mine !== drawing) return;  // somebody went on meanwhile
      keep(() => page.replaceChildren(...target.childNodes));
      query.value = route.params.q || "";
      document.title = `${current.title} · kaizen-otel view`;
      if (view.again) setTimeout(() => mine === drawing && draw(), 700);
    } catch (error) {
      if (mine === drawing) page.replaceChildren(view.empty("This cannot be shown", error.message));
    }
    page.dataset.ready = String(drawing);
  };

  // A page that is drawn anew stays where it was scrolled to.
  const keep = (change) => {
    const boxes = [".list", ".detail", ".scroll"];
    const before = boxes.map((box) => page.querySelector(box)?.scrollTop || 0);
    const same = page.dataset.hash === location.hash;
    change();
    page.dataset.hash = location.hash;
    if (same) boxes.forEach((box, i) => { const found = page.querySelector(box); if (found) found.scrollTop = before[i]; });
    else page.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  };

  const navigation = (now) => {
    document.getElementById("nav").replaceChildren(...order.map((name) => {
      const count = view.pages[name].count(view.state.overview);
      return el("a", { href: view.link(name), "aria-current": name === now ? "page" : null }, view.pages[name].title,
        count === null ? null : el("small", {}, view.short(count)));
    }));
  };

  const look = async () => {
    const found = await view.api("/api/overview");
    const changed = found.version !== view.state.version;
    Object.assign(view.state, { overview: found, version: found.version });
    notices(found);
    return changed;
  };

  const notices = (found) => {
    const said = [];
    const note = (text, css = "", more = null) => said.push(el("div", { class: `notice ${css}` }, text, more));
    if (!found.complete) note(`Reading: ${view.short(found.bytes_left / 1e6)} of ${view.short(found.bytes / 1e6)} MB are left; the newest is shown already.`);
    found.errors.forEach((text) => note(`Cannot be read: ${text}`, "bad"));
    if (found.problem_count) {
      note(`${view.plural(found.problem_count, "piece")} of the files could not be read as OTLP and ${found.problem_count === 1 ? "is" : "are"} not shown.`, "",
        el("details", {}, el("summary", {}, "Where"), found.problems.map((each) => el("div", { class: "mono" }, `${each.file}, byte ${each.offset}: ${each.kind}, ${each.size} bytes ${each.detail}`))));
    }
    found.too_long.forEach((each) => note(`${each.file}: ${view.count(each.bytes)} bytes are in lines that are too long, and not shown.`));
    if (found.complete) found.half_written.forEach((each) => note(`${each.file}: the last ${view.count(each.bytes)} bytes are a line without an end; it is shown once it is whole.`));
    if (found.traces_dropped) note(`${view.plural(found.traces_dropped, "older trace")} left the list, which holds 100,000.`);
    if (found.series_refused) note("There are more metric series than the 5,000 that are kept.");
    document.getElementById("notices").replaceChildren(...said);
  };

  // ------------------------------------------------------------------ live
  const live = (on) => {
    view.state.live = on;
    liveButton.setAttribute("aria-pressed", String(on));
  };
  const tick = async () => {
    if (!view.isReport && (view.state.live || (view.state.overview && !view.state.overview.complete))) {
      try { if (await look()) await draw(); } catch { /* the next one may get through */ }
    }
    setTimeout(tick, 1000);
  };

  // ------------------------------------------------------------------ theme
  const theme = (name) => { document.documentElement.dataset.theme = name; try { localStorage.setItem("theme", name); } catch { /* not kept */ } };
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* a file may have no storage */ }
  theme(chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  const turn = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

  // ------------------------------------------------------------------ keys and buttons
  const keys = document.getElementById("keys");
  keys.append(el("h2", {}, "Keys"), el("table", {}, el("tbody", {}, KEYS.map(([key, text]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, text))))),
    el("p", {}, el("button", { class: "tool", type: "button", onclick: () => keys.close() }, "Close")));

  const search = () => {
    const text = query.value.trim();
    const route = view.route();
    if (/^[0-9a-f]{32}$/i.test(text)) view.go("traces", text.toLowerCase());
    else view.go(order.includes(route.page) ? route.page : "traces", "", { ...route.params, span: "", tab: "", trace: "", q: text });
  };
  document.getElementById("search").addEventListener("submit", (event) => { event.preventDefault(); search(); query.blur(); });
  document.getElementById("theme").addEventListener("click", turn);
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  liveButton.addEventListener("click", () => { live(!view.state.live); draw(); });
  if (view.isReport) liveButton.remove();

  let going = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (event.target.matches("input, select")) {
      if (event.key === "Escape") { event.target.blur(); if (event.target === query && query.value) { query.value = ""; search(); } }
      return;
    }
    const current = view.pages[view.route().page];
    const actions = {
      "/": () => query.focus(), "?": () => keys.showModal(), d: turn, l: () => !view.isReport && liveButton.click(),
      j: () => current?.move?.(page, 1), k: () => current?.move?.(page, -1), ArrowDown: () => current?.move?.(page, 1), ArrowUp: () => current?.move?.(page, -1),
      Enter: () => current?.enter?.(), Escape: () => query.value && (() => { query.value = ""; search(); })(), g: () => { going = true; setTimeout(() => { going = false; }, 1200); },
    };
    if (going && event.key !== "g") {
      going = false;
      const name = order.find((each) => each.startsWith(event.key));
      if (name) { event.preventDefault(); view.go(name); }
      return;
    }
    const action = actions[event.key];
    if (action && !(event.key === "Enter" && event.target.matches("a, button, summary"))) {
      if (event.key !== "Enter") event.preventDefault();
      action();
    }
  });

  addEventListener("hashchange", () => draw());
  draw().then(tick);
})();
