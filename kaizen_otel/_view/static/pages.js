"use strict";
(() => {
  const { el, api, link, took, plural, badge } = view;

  // ------------------------------------------------------------------ log and audit records
  const severity = (record) => (/^(ERROR|FATAL)/.test(record.severity) ? badge(record.severity, "bad")
    : /^WARN/.test(record.severity) ? badge(record.severity, "warn") : el("span", { class: "soft" }, record.severity));
  const outcome = (found) => {
    const result = found["audit.outcome"] === "unknown" ? "" : found["audit.outcome"];  // an intent has none yet
    const text = found["kaizen.decision"] || result || "";
    const kind = /success|allow|approved/.test(text) ? "good" : /fail|den|refus|reject|block/.test(text) ? "bad" : "";
    return text ? badge(text, kind) : "";
  };
  const COLUMNS = {
    logs: [["Time", (r) => el("span", { class: "num" }, view.moment(r.time))], ["Severity", severity],
      ["What", (r) => [r.event ? el("span", { class: "mono" }, r.event, " ") : "", r.body], "wide"], ["Service", (r) => r.service]],
    audit: [["Time", (r) => el("span", { class: "num" }, view.moment(r.time))],
      ["No.", (r) => el("span", { class: "num soft" }, r.attributes["audit.sequence.number"] ?? r.attributes["kaizen.audit.sequence"] ?? "")],
      ["Event", (r) => el("span", { class: "mono" }, r.event)], ["Actor", (r) => view.text(r.attributes["audit.actor.id"] ?? "")],
      ["Target", (r) => view.text(r.attributes["audit.target.id"] ?? "")],
      ["Phase", (r) => r.attributes["kaizen.audit.phase"] ?? ""], ["Outcome", (r) => outcome(r.attributes)]],
  };

  view.records = (records, kind, withHead = true) => {
    const columns = COLUMNS[kind];
    const body = el("tbody", {});
    for (const record of records) {
      let opened = null;
      const item = el("tr", { class: "item", "data-id": record.attributes["audit.record.id"] || record.place, "aria-selected": false, onclick: () => {
        if (opened) { opened.remove(); opened = null; item.setAttribute("aria-selected", "false"); return; }
        opened = el("tr", { class: "more" }, el("td", { colspan: columns.length }, more(record, kind)));
        item.after(opened);
        item.setAttribute("aria-selected", "true");
      } }, columns.map(([, show, css]) => el("td", { class: css }, show(record))));
      body.append(item);
    }
    return el("table", { class: "records" }, withHead ? el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", {}, title)))) : null, body);
  };

  const more = (record, kind) => [
    el("p", { class: "facts" },
      record.trace ? el("a", { href: link("traces", record.trace, { span: record.span, tab: kind }) }, "its trace") : null,
      record.trace && kind === "logs" ? el("a", { href: link("audit", "", { trace: record.trace }) }, "audit records of the trace") : null,
      record.trace && kind === "audit" ? el("a", { href: link("logs", "", { trace: record.trace }) }, "logs of the trace") : null,
      el("span", { class: "mono" }, `${view.day(record.time)} ${view.clock(record.time)}`)),
    record.body ? view.group("Body", { body: record.body }) : [],
    view.group("Attributes", record.attributes), view.group("Resource", record.resource)];

  const asksFor = (record, { trace, q, event, severity: level }) => (!trace || record.trace === trace)
    && (!event || record.event.includes(event)) && (!level || record.severity.startsWith(level))
    && (!q || JSON.stringify(record).toLowerCase().includes(q.toLowerCase()));

  const recordsPage = (kind, title, filters) => ({
    title, count: (overview) => overview.counts[kind],
    async render(page, route) {
      const asked = route.params;
      const found = await api(`/api/${kind}`, asked);
      const records = view.isReport ? found.records.filter((record) => asksFor(record, asked)) : found.records;
      const change = (name) => (event) => view.go(kind, "", { ...asked, [name]: event.target.value });
      const bar = el("div", { class: "filters" }, filters(asked, change),
        asked.trace ? el("a", { href: link("traces", asked.trace) }, badge(`trace ${asked.trace.slice(0, 8)}…`)) : null,
        asked.q ? badge(`“${asked.q}”`) : null,
        Object.keys(asked).length ? el("a", { href: link(kind) }, "all records") : null);
      const box = el("div", { class: "scroll" }, records.length ? view.records(records, kind)
        : view.empty("No records", Object.keys(asked).length ? "None fits what you asked for." : ""));
      let next = found.next;
      const button = el("button", { class: "tool page-more", onclick: async () => {
        const page2 = await api(`/api/${kind}`, { ...asked, before: next });
        box.insertBefore(view.records(page2.records, kind, false), button);
        next = page2.next;
        if (!next) button.remove();
      } }, "Show older");
      if (next && !asked.trace) box.append(button);
      page.replaceChildren(kind === "audit" ? await verdict() : "", bar, box);
    },
    move: (page, step) => {
      const rows = [...page.querySelectorAll("tr.item")];
      const at = rows.findIndex((row) => row === document.activeElement);
      const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
      if (next) { next.tabIndex = -1; next.focus(); next.scrollIntoView({ block: "nearest" }); }
    },
    enter: () => document.activeElement?.matches?.("tr.item") && document.activeElement.click(),
  });

  view.pages.logs = recordsPage("logs", "Logs", (asked, change) => [
    el("select", { "aria-label": "severity", onchange: change("severity") }, ["", "INFO", "WARN", "ERROR"].map((level) =>
      el("option", { value: level, selected: level === (asked.severity || "") }, level || "any severity")))]);
  view.pages.audit = recordsPage("audit", "Audit", (asked, change) => [
    el("input", { placeholder: "event", "aria-label": "event", value: asked.event || "", onchange: change("event") })]);

  // ------------------------------------------------------------------ the verdict on the trail
  const LOOK = { clean: ["good", "Clean"], tampering: ["bad", "Tampering"], incomplete: ["warn", "Incomplete"], unreadable: ["warn", "Nothing verified"] };

  const verdict = async () => {
    const found = await api("/api/verification");
    if (!found || found.state === "none") return el("div", { class: "verdict" }, el("h2", {}, "There is no audit trail here"), el("p", {}, "It would be in audit/audit.jsonl."));
    if (found.state === "running") { view.again = true; return el("div", { class: "verdict" }, el("h2", {}, "Verifying…")); }
    if (found.state === "failed") return el("div", { class: "verdict bad" }, el("h2", {}, "The trail could not be verified"), el("p", {}, found.message));
    if (found.state === "stale") view.again = true;
    const [css, title] = LOOK[found.verdict];
    const findings = [...found.findings].sort((a, b) => (a.severity < b.severity ? 1 : -1)).filter((each) => each.severity !== "note");
    return el("div", { class: `verdict ${css}` },
      el("h2", {}, badge(title, css), `${plural(found.records, "record")} in ${plural(found.streams.length, "stream")}`,
        found.state === "stale" ? badge("looking again") : null),
      found.words.map((line) => el("p", {}, line)), found.warnings.map((line) => el("p", {}, line)),
      findings.length ? el("ul", {}, findings.slice(0, 100).map((each) => el("li", {}, badge(each.kind, each.severity === "tampering" ? "bad" : "warn"), " ", each.text,
        el("span", { class: "soft mono" }, `  ${each.stream_id ? `stream ${each.stream_id} record ${each.sequence}` : ""} ${each.path}${each.offset >= 0 ? `:${each.offset}` : ""}`),
        each.hint ? el("div", { class: "soft" }, each.hint) : null))) : null,
      el("details", {}, el("summary", { class: "soft" }, "Streams"), el("table", {}, el("tbody", {}, found.streams.slice(0, 200).map((stream) =>
        el("tr", {}, el("td", { class: "mono" }, stream.stream_id), el("td", { class: "num" }, `${view.count(stream.records ?? stream.last)} records`),
          el("td", {}, stream.is_closed ? "ended" : "open"), el("td", { class: "num" }, stream.anchored_to ? `anchored to ${stream.anchored_to}` : "not anchored")))))));
  };

  // ------------------------------------------------------------------ conversations
  view.pages.conversations = {
    title: "Conversations", count: () => null,
    async render(page, route) {
      const { conversations } = await api("/api/conversations");
      const asked = (route.params.q || "").toLowerCase();
      const listed = conversations.filter((each) => !asked || JSON.stringify(each).toLowerCase().includes(asked));
      const chosen = route.part || (listed[0] && listed[0].id);
      const list = el("div", { class: "list", role: "listbox", "aria-label": "Conversations" }, listed.map((each) => el("a", {
        class: "row", role: "option", "aria-selected": each.id === chosen, href: link("conversations", each.id, route.params) },
        el("div", { class: "top" }, el("span", { class: "name" }, each.agents.join(", ") || "no agent"), each.errors ? badge(plural(each.errors, "error"), "bad") : null),
        el("div", { class: "sub" }, el("span", { class: "num" }, view.moment(each.start)), el("span", {}, plural(each.traces, "run")),
          each.named ? el("span", {}, each.id) : null))));
      const detail = el("div", { class: "detail" });
      if (!listed.length) list.append(view.empty("No conversation"));
      page.replaceChildren(el("div", { class: "split" }, list, detail));
      if (!chosen) return;
      const found = await api(`/api/conversations/${chosen}`);
      if (!found) { detail.replaceChildren(view.empty("No conversation with this id", chosen)); return; }
      const said = found.steps.some((step) => Object.keys(step.said).length);
      detail.replaceChildren(el("div", { class: "head" }, el("h1", {}, found.named ? found.id : "One run"),
        el("div", { class: "facts" }, el("span", {}, plural(found.traces, "run")), el("span", {}, plural(found.steps.length, "step")),
          said ? null : el("span", {}, "What was said is not captured: OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is off."))),
      el("div", { class: "steps" }, found.steps.slice(0, 2000).map(step)));
    },
    move: (page, amount) => view.choose(page, ".list .row", amount),
  };

  const step = (each) => el("div", { class: `step${each.error ? " failed" : ""}` },
    el("span", { class: "num soft" }, view.clock(each.start)),
    el("div", { class: `what d${Math.min(5, each.depth)}` }, el("i", { class: `dotk k-${view.kind(each.operation, each.name)}` }),
      el("a", { href: link("traces", each.trace, { span: each.span }) }, each.name),
      each.agent && !each.name.includes(each.agent) ? el("span", { class: "soft" }, `  by ${each.agent}`) : null,
      each.error ? badge(each.error_type || "failed", "bad") : null,
      Object.entries(each.said).map(([key, value]) => el("div", { class: "said" }, el("b", {}, key.replace(/^gen_ai\./, "")), readable(value)))),
    el("span", { class: "num soft" }, each.input_tokens || each.output_tokens ? `${each.input_tokens ?? 0} → ${each.output_tokens ?? 0} tokens  ` : "", took(each.duration_ms)));

  // Messages by the GenAI conventions are JSON: role and parts.
  const readable = (value) => {
    let parsed = value;
    if (typeof value === "string") { try { parsed = JSON.parse(value); } catch { return value; } }
    const part = (each) => (typeof each === "string" ? each : each?.content ?? each?.text ?? JSON.stringify(each));
    if (Array.isArray(parsed) && parsed.every((each) => each && typeof each === "object" && (each.parts || each.role || each.content))) {
      return parsed.map((each) => `${each.role ? `${each.role}: ` : ""}${Array.isArray(each.parts) ? each.parts.map((p) => view.text(part(p))).join("\n") : view.text(part(each))}`).join("\n");
    }
    return typeof parsed === "string" ? parsed : JSON.stringify(parsed, null, 2);
  };
})();
