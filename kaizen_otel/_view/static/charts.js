"use strict";
(() => {
  const { el, api, link } = view;
  const WIDTH = 900, HEIGHT = 220, LEFT = 56, BOTTOM = 22, TOP = 8;
  const COLORS = 6, SERIES = 12;

  // Series -> [[ms, number]...]: a gauge as it is, a sum per second, a histogram's mean.
  const lineOf = (metric, series) => {
    const histogram = metric.kind.toLowerCase().includes("histogram");
    if (metric.kind === "gauge" || (metric.kind === "sum" && !metric.monotonic)) return series.points.map(([t, v]) => [t, v]);
    const line = [];
    let before = null;
    for (const [time, value, count] of series.points) {
      if (histogram) {
        const sum = metric.delta || !before ? value : value - before[1];
        const seen = metric.delta || !before ? count : count - before[2];
        if (seen > 0) line.push([time, sum / seen]);
      } else line.push([time, metric.delta ? (line.length ? line[line.length - 1][1] : 0) + value : value]);
      before = [time, value, count];
    }
    return line;
  };

  const nice = (span) => {
    const power = 10 ** Math.floor(Math.log10(span || 1));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => span / step <= 4.5) || power * 10;
  };

  view.lineChart = (lines, label) => {
    const points = lines.flat();
    if (!points.length) return view.empty("No points");
    let [first, last] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
    if (first === last) { first -= 1000; last += 1000; }
    const low = Math.min(0, ...points.map((p) => p[1]));
    const step = nice(Math.max(...points.map((p) => p[1])) - low || 1);
    const high = Math.max(step, Math.ceil(Math.max(...points.map((p) => p[1])) / step) * step);
    const x = (time) => LEFT + ((time - first) / (last - first)) * (WIDTH - LEFT - 12);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const drawn = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) {
      drawn.push(el("line:svg", { class: "axis", x1: LEFT, x2: WIDTH - 12, y1: y(value), y2: y(value) }),
        el("text:svg", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, view.short(value)));
    }
    for (let i = 0; i <= 4; i += 1) {
      const time = first + ((last - first) * i) / 4;
      drawn.push(el("text:svg", { x: x(time), y: HEIGHT - 5, "text-anchor": i === 4 ? "end" : i ? "middle" : "start" },
        view.clock(`${Math.round(time)}000000`).slice(0, 8)));
    }
    lines.forEach((line, i) => {
      const path = line.map(([t, v], n) => `${n ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("");
      drawn.push(el("g:svg", { class: `c${i % COLORS}` }, el("path:svg", { d: path }),
        line.length < 40 ? line.map(([t, v]) => el("circle:svg", { cx: x(t), cy: y(v), r: 2.6 })) : []));
    });
    return el("svg:svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, drawn);
  };

  const bucketChart = (series, unit) => {
    const { buckets, bounds } = series;
    const from = buckets.findIndex((n) => n > 0), to = buckets.length - [...buckets].reverse().findIndex((n) => n > 0);
    if (from < 0 || !bounds.length) return null;
    const cut = buckets.slice(Math.max(0, from - 1), to + 1), high = Math.max(...cut);
    const width = (WIDTH - LEFT) / cut.length, drawn = [];
    cut.forEach((count, i) => {
      const place = Math.max(0, from - 1) + i, tall = (count / high) * 110;
      const upper = place < bounds.length ? view.short(bounds[place]) : "∞";
      drawn.push(el("rect:svg", { class: "fill", x: LEFT + i * width + 2, y: 130 - tall, width: Math.max(1, width - 4), height: tall }),
        el("text:svg", { x: LEFT + i * width + width / 2, y: 146, "text-anchor": "middle" }, `≤ ${upper}`),
        count ? el("text:svg", { x: LEFT + i * width + width / 2, y: 126 - tall, "text-anchor": "middle" }, view.short(count)) : "");
    });
    return el("svg:svg", { class: "c0", viewBox: `0 0 ${WIDTH} 152`, role: "img", "aria-label": `Distribution in ${unit}` }, drawn);
  };

  // What differs between the series of a metric: their names.
  const nameOf = (series, all) => {
    const keys = Object.keys(series.attributes).filter((key) => new Set(all.map((s) => view.text(s.attributes[key]))).size > 1);
    const used = keys.length ? keys : Object.keys(series.attributes).filter((key) => !key.startsWith("service."));
    return used.map((key) => `${key.replace(/^gen_ai\./, "")}=${view.text(series.attributes[key])}`).join("  ") || "all";
  };

  const amount = (metric, value) => `${view.short(value)}${metric.unit && !metric.unit.startsWith("{") && metric.unit !== "1" ? ` ${metric.unit}` : ""}`;
  const headline = (metric) => (metric.kind.toLowerCase().includes("histogram")
    ? [view.short(metric.last.count), `mean ${metric.last.count ? amount(metric, metric.last.value / metric.last.count) : "–"}`]
    : [amount(metric, metric.last.value), metric.kind === "sum" && metric.monotonic ? "in all" : "now"]);

  view.pages.metrics = {
    title: "Metrics", count: () => null,
    async render(page, route) {
      if (route.part) { await one(page, route.part); return; }
      const { metrics } = await api("/api/metrics");
      const asked = (route.params.q || "").toLowerCase();
      const found = metrics.filter((metric) => !asked || metric.name.toLowerCase().includes(asked));
      if (!found.length) { page.replaceChildren(view.empty("No metrics", asked ? "None has that in its name." : "They come every ten seconds, and when a process ends.")); return; }
      page.replaceChildren(el("div", { class: "cards" }, found.map((metric) => {
        const [big, small] = headline(metric);
        return el("a", { class: "card", href: link("metrics", metric.name) }, el("h3", {}, metric.name),
          el("span", { class: "big" }, big), el("span", { class: "soft" }, ` ${small}`),
          el("p", {}, metric.description || metric.kind, metric.series > 1 ? `, ${metric.series} series` : ""));
      })));
    },
  };

  const one = async (page, name) => {
    const metric = await api(`/api/metrics/${name}`);
    if (!metric) { page.replaceChildren(view.empty("No metric of that name", name)); return; }
    const series = metric.series, drawn = series.slice(0, SERIES);
    const histogram = metric.kind.toLowerCase().includes("histogram");
    const what = histogram ? "Mean" : metric.monotonic ? "Total" : "Value";
    const last = (s) => s.points[s.points.length - 1] || [0, 0, 0];
    page.replaceChildren(el("div", { class: "detail" },
      el("div", { class: "head" }, el("h1", {}, name), el("div", { class: "facts" }, metric.description, el("span", {}, metric.kind),
        metric.unit ? el("span", {}, `unit ${metric.unit}`) : null, el("a", { href: link("metrics") }, "all metrics"))),
      el("div", { class: "chart" }, view.lineChart(drawn.map((s) => lineOf(metric, s)), `${what} of ${name} over time`)),
      drawn.length === 1 && histogram ? el("div", { class: "chart" }, bucketChart(drawn[0], metric.unit)) : null,
      el("div", { class: "panel" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Series"), el("th", {}, what), histogram ? el("th", {}, "Count") : null, el("th", {}, "At"))),
        el("tbody", {}, series.map((s, i) => el("tr", { class: `c${i % COLORS}` },
          el("td", {}, i < SERIES ? el("i", { class: "key" }) : null, nameOf(s, series)),
          el("td", { class: "num" }, histogram ? (last(s)[2] ? amount(metric, last(s)[1] / last(s)[2]) : "–") : amount(metric, last(s)[1])),
          histogram ? el("td", { class: "num" }, view.count(last(s)[2])) : null,
          el("td", { class: "num soft" }, view.moment(`${Math.round(last(s)[0])}000000`)))))))));
  };
})();
