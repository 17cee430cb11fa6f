"use strict";
(() => {
  const { el, api, link, took, plural, clock, badge } = view;
  const ROWS = 1500;
  let shown = null;        // the trace that is shown
  let closed = new Set();  // ids of spans whose children are hidden

  const select = (name, values, chosen, onchange) => el("select", { "aria-label": name, onchange },
    el("option", { value: "" }, `any ${name}`),
    values.map((value) => el("option", { value, selected: value === chosen }, value)));

  const row = (trace, chosen, params) => el("a", {
    class: "row", role: "option", "aria-selected": trace.id === chosen, "data-id": trace.id,
    href: link("traces", trace.id, params),
  },
    el("div", { class: "top" }, el("span", { class: "name" }, trace.root || "(no root yet)"),
      trace.errors ? badge(plural(trace.errors, "error"), "bad") : null,
      el("span", { class: "num" }, took(trace.duration_ms))),
    el("div", { class: "sub" }, el("span", { class: "num" }, view.moment(trace.start)),
      el("span", {}, plural(trace.spans_count, "span")),
      trace.input_tokens + trace.output_tokens
        ? el("span", {}, `${view.short(trace.input_tokens + trace.output_tokens)} tokens`) : null,
      trace.agents.length > 1 ? el("span", {}, plural(trace.agents.length, "agent")) : null,
      el("span", {}, trace.service)));

  const matches = (trace, asked) => {
    if (asked.agent && !trace.agents.includes(asked.agent)) return false;
    if (asked.tool && !trace.tools.includes(asked.tool)) return false;
    if (asked.status === "error" && !trace.errors) return false;
    return !asked.q || JSON.stringify(trace).toLowerCase().includes(asked.q.toLowerCase());
  };

  view.pages.traces = {
    title: "Traces", count: (overview) => overview.traces,
    async render(page, route) {
      const { id, span, tab, ...asked } = { id: route.part, ...route.params };
      const listed = await api("/api/traces", asked);
      let traces = listed.traces;
      if (view.isReport) traces = traces.filter((trace) => matches(trace, asked));
      const list = el("div", { class: "list", role: "listbox", "aria-label": "Traces" });
      const detail = el("div", { class: "detail" });
      const change = (name) => (event) => view.go("traces", "", { ...asked, [name]: event.target.value });
      const { agents, tools } = view.state.overview;
      list.append(el("div", { class: "filters" },
        select("agent", agents, asked.agent, change("agent")),
        select("tool", tools, asked.tool, change("tool")),
        el("label", {}, el("input", { type: "checkbox", checked: asked.status === "error",
          onchange: (event) => view.go("traces", "", { ...asked, status: event.target.checked ? "error" : "" }) }), " failed"),
        asked.q ? badge(`“${asked.q}”`) : null));
      list.append(...traces.map((trace) => row(trace, id, asked)));
      if (listed.partial) list.append(el("p", { class: "empty" }, "The search ended after two seconds: narrow it down."));
      if (listed.more) list.append(el("button", { class: "tool page-more", onclick: async (event) => {
        const more = await api("/api/traces", { ...asked, skip: list.querySelectorAll(".row").length });
        event.target.before(...more.traces.map((trace) => row(trace, id, asked)));
        if (!more.more) event.target.remove();
      } }, "Show older"));
      if (!traces.length) list.append(view.empty("No trace", Object.keys(asked).length
        ? "None fits what you asked for." : "Run an agent, for example with `kaizen-otel demo`."));
      page.replaceChildren(el("div", { class: "split" }, list, detail));
      const chosen = id || (traces.length && traces[0].id);
      if (chosen) await open(detail, chosen, { span, tab, asked });
      list.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
    },
    move: (page, step) => view.choose(page, ".detail:focus-within .span, .list:not(:has(~ .detail:focus-within)) .row", step),
  };

  const open = async (detail, id, { span, tab, asked }) => {
    const trace = await api(`/api/traces/${id}`);
    if (!trace) {
      detail.replaceChildren(view.empty("No trace with this id", id));
      return;
    }
    if (!shown || shown.id !== id) closed = new Set();
    shown = trace;
    const draw = (chosen, panel) => {
      const scroll = detail.scrollTop;
      detail.replaceChildren(head(trace), waterfall(trace, chosen, (next) => {
        view.note("traces", id, { ...asked, span: next });
        draw(next, "span");
        detail.querySelector('.span[aria-selected="true"]')?.focus({ preventScroll: true });
      }, () => draw(chosen, panel)), panels(trace, chosen, panel, (next) => {
        view.note("traces", id, { ...asked, span: chosen, tab: next });
        draw(chosen, next);
      }));
      detail.scrollTop = scroll;
    };
    draw(span || (trace.spans[0] && trace.spans[0].id), tab || "span");
  };

  const head = (trace) => el("div", { class: "head" },
    el("h1", {}, trace.root || "(no root yet)"),
    el("div", { class: "facts" },
      el("span", {}, el("b", { class: "num" }, took(trace.duration_ms))),
      el("span", {}, `${view.day(trace.start)} ${clock(trace.start)}`),
      el("span", {}, plural(trace.spans_count, "span")),
      trace.errors ? badge(plural(trace.errors, "error"), "bad") : null,
      trace.input_tokens ? el("span", {}, `${view.count(trace.input_tokens)} → ${view.count(trace.output_tokens)} tokens`) : null,
      trace.agents.length ? el("span", {}, "agents ", el("b", {}, trace.agents.join(", "))) : null,
      el("a", { href: link("conversations", trace.conversation || trace.id) }, "as a conversation"),
      el("span", { class: "mono" }, trace.id)));

  // Spans in the order of a tree; one whose parent is not there is a root.
  const ordered = (spans) => {
    const ids = new Set(spans.map((span) => span.id));
    const below = new Map();
    for (const span of spans) {
      const key = ids.has(span.parent) && span.parent !== span.id ? span.parent : "";
      if (!below.has(key)) below.set(key, []);
      below.get(key).push(span);
    }
    const rows = [];
    const seen = new Set();
    const stack = (below.get("") || []).map((span) => ({ span, depth: 0 })).reverse();
    while (stack.length) {
      const { span, depth } = stack.pop();
      if (seen.has(span.id)) continue;
      seen.add(span.id);
      const children = below.get(span.id) || [];
      rows.push({ span, depth, children: children.length });
      if (!closed.has(span.id)) stack.push(...children.map((child) => ({ span: child, depth: depth + 1 })).reverse());
    }
    // Foreign spans may be each other's parents: they are shown all the same.
    if (!closed.size) rows.push(...spans.filter((span) => !seen.has(span.id)).map((span) => ({ span, depth: 0, children: 0 })));
    return rows;
  };

  const waterfall = (trace, chosen, choose, redraw) => {
    const start = Number(BigInt(trace.start) / 1000n);
    const whole = Math.max(trace.duration_ms * 1000, 1);
    const box = el("div", { class: "waterfall", role: "tree", "aria-label": "Spans" });
    const ticks = el("div", { class: "ticks" });
    for (let i = 0; i < 4; i += 1) {
      const tick = el("span", {}, took((whole / 1000) * (i / 4)));
      tick.style.left = `${i * 25}%`;
      ticks.append(tick);
    }
    box.append(el("div", { class: "ruler" }, el("span", {}, ""), ticks, el("span", {}, "")));
    const rows = ordered(trace.spans);
    for (const { span, depth, children } of rows.slice(0, ROWS)) {
      const kind = view.kind(String(span.attributes["gen_ai.operation.name"] || ""), span.name);
      const fill = el("div", { class: "fill" });
      const left = Number(BigInt(span.start) / 1000n) - start;
      fill.style.left = `${Math.min(99.7, Math.max(0, (left / whole) * 100))}%`;
      fill.style.width = `${Math.min(100, (span.duration_ms * 100000) / whole)}%`;
      const label = el("div", { class: "label" },
        el("span", { class: "twist", onclick: (event) => {
          if (!children) return;
          event.stopPropagation();
          if (!closed.delete(span.id)) closed.add(span.id);
          redraw();
        } }, children ? (closed.has(span.id) ? "▶" : "▼") : ""),
        el("i", { class: "mark" }), el("span", { class: "text", title: span.name }, span.name));
      label.style.paddingLeft = `${8 + Math.min(depth, 24) * 15}px`;
      box.append(el("button", {
        type: "button", class: `span k-${kind}${span.error ? " failed" : ""}`, role: "treeitem", "data-id": span.id,
        "aria-selected": span.id === chosen, "aria-level": depth + 1, onclick: () => choose(span.id),
      }, label, el("div", { class: "track" }, fill), el("span", { class: "took num" }, took(span.duration_ms))));
    }
    const left = rows.length - Math.min(rows.length, ROWS) + trace.spans_left_out;
    if (left) box.append(el("p", { class: "empty" }, `${plural(left, "span")} more are not drawn: close some above, or search.`));
    return box;
  };

  const panels = (trace, chosen, panel, change) => {
    const span = trace.spans.find((each) => each.id === chosen) || trace.spans[0];
    const tabs = [["span", "Span", null], ["logs", "Logs", trace.logs.length], ["audit", "Audit", trace.audit.length]];
    const content = panel === "span" ? (span ? spanPanel(span) : [])
      : trace[panel].length ? [view.records(trace[panel], panel)] : [view.empty(`No ${panel === "logs" ? "log" : "audit"} records belong to this trace`)];
    return el("div", {},
      el("div", { class: "tabs", role: "tablist" }, tabs.map(([name, text, count]) => el("button", {
        type: "button", role: "tab", "data-tab": name, "aria-selected": name === panel, onclick: () => change(name),
      }, text, count === null ? null : ` ${count}`))),
      el("div", { class: "panel" }, content));
  };

  const spanPanel = (span) => [
    el("div", { class: "facts" }, el("b", {}, span.name), el("span", {}, took(span.duration_ms)), el("span", {}, clock(span.start)),
      span.kind ? el("span", {}, span.kind) : null, el("span", {}, span.service),
      span.error ? badge(span.status_message || String(span.attributes["error.type"] || "failed"), "bad") : null,
      el("span", { class: "mono" }, span.id)),
    view.group("Attributes", span.attributes),
    span.events.map((event) => view.group(`Event ${event.name} at ${clock(event.time)}`,
      Object.keys(event.attributes).length ? event.attributes : { name: event.name })),
    span.links.length ? [el("div", { class: "group" }, "Links"), span.links.map((each) =>
      el("p", {}, el("a", { class: "mono", href: link("traces", each.trace, { span: each.span }) }, `${each.trace} ${each.span}`)))] : [],
    view.group("Resource", span.resource),
  ];
})();
