// Draws each type of panel at its position on the grid.

// Grafana's grid has 24 columns; a row is 30 px high, and the gap below it 8 px.
const CELL = 38;
const GAP = 8;
const WIDTH = (1600 - 16) / 24;

function results(panel) {
  return panel.targets.flatMap((target) => {
    const found = DATA.results.find((it) => it.panel === panel.id && it.target === target.refId);
    return found.series.map((series) => ({ target, labels: series.metric, name: legend(target, series.metric),
      points: (series.values ?? [series.value]).map(([at, value]) => [at, Number(value)]) }));
  });
}

function timeseries(panel, box) {
  const all = results(panel);
  const times = [...new Set(all.flatMap((it) => it.points.map(([at]) => at)))].sort((a, b) => a - b);
  const { unit, custom } = panel.fieldConfig.defaults;
  const stacked = custom.stacking.mode === "normal";
  const column = ({ points }) => {
    const byTime = new Map(points);
    return times.map((at) => (Number.isFinite(byTime.get(at)) ? byTime.get(at) : null));
  };
  const values = all.map(column);
  const heights = stacked ? stack(values) : values;
  const series = all.map(({ name }, index) => line(panel, name, index, custom, stacked));
  const plot = element("div", "plot");
  const names = element("div", "legend");
  names.style.columns = panel.gridPos.w > 18 ? 3 : panel.gridPos.w > 8 ? 2 : 1;
  const entries = all.map(({ name }, index) => entry(name, series[index].stroke, values[index], unit));
  const top = (index) => Math.max(...values[index].filter((it) => it != null));
  names.append(...[...entries.keys()].sort((a, b) => top(b) - top(a)).map((index) => entries[index]));
  box.append(plot, names);
  const log = custom.scaleDistribution?.type === "log";
  const order = stacked ? series.map((_, index) => series.length - 1 - index) : series.map((_, index) => index);
  new uPlot({
    width: plot.clientWidth, height: plot.clientHeight - 2, legend: { show: false }, cursor: { show: false },
    scales: { y: log ? { distr: 3 } : { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
    axes: [axis({ size: 24, space: 70, values: (_, ticks) => ticks.map(clock) }), axis({ size: 64, values: (_, ticks) => ticks.map((it) => (it == null ? "" : format(it, unit))) })],
    series: [{}, ...order.map((index) => series[index])],
  }, [times, ...order.map((index) => heights[index])], plot);
}

function clock(at) {
  return new Date(at * 1000).toISOString().slice(11, 19);
}

function stack(values) {
  const sums = [];
  return values.map((column) => column.map((value, at) => (sums[at] = (sums[at] ?? 0) + (value ?? 0))));
}

function line(panel, name, index, custom, stacked) {
  const stroke = colour(panel, name, index);
  const opacity = property(panel, name, "custom.fillOpacity") ?? custom.fillOpacity;
  // Opaque if stacked, so that the colours of areas do not mix.
  const fill = stacked ? stroke : stroke + Math.round(opacity * 2.55).toString(16).padStart(2, "0");
  return { stroke, fill, width: 1, dash: property(panel, name, "custom.lineStyle")?.dash, points: { show: false } };
}

function axis(more) {
  return { stroke: "#9fa7b3", font: "11px sans-serif", grid: { stroke: "#2a2e35", width: 1 }, ticks: { show: false },
    ...more };
}

function entry(name, stroke, values, unit) {
  const row = element("div");
  const mark = element("i");
  mark.style.background = stroke;
  const seen = values.filter((it) => it != null);
  const mean = seen.reduce((sum, it) => sum + it, 0) / seen.length;
  row.append(mark, element("span", "", name),
    element("em", "", `mean ${format(mean, unit)}  ·  max ${format(Math.max(...seen), unit)}`));
  return row;
}

function stat(panel, box) {
  const points = results(panel)[0].points.filter(([, value]) => Number.isFinite(value));
  const value = points.at(-1)?.[1];
  const shown = element("div", "stat");
  const paint = threshold(panel, value);
  const [first, last] = [points[0][0], points.at(-1)[0] + 1];
  const top = Math.max(...points.map(([, it]) => it), 1e-9);
  const path = points.map(([at, it]) => `${((at - first) / (last - first)) * 100},${100 - (it / top) * 95}`).join(" ");
  if (points.length > 1) shown.innerHTML = `<svg viewBox="0 0 100 100" preserveAspectRatio="none"><polygon fill="${paint}" points="0,100 ${path} 100,100"/></svg>`;
  const text = element("span", "", format(value, panel.fieldConfig.defaults.unit));
  text.style.color = paint;
  shown.append(text);
  box.append(shown);
}

function bargauge(panel, box) {
  const all = results(panel).map((it) => ({ name: it.name, value: it.points.at(-1)[1] }));
  const top = Math.max(...all.map((it) => it.value), 1e-9);
  const graded = panel.fieldConfig.defaults.color.mode.startsWith("continuous");
  const bars = element("div", "bars");
  all.forEach(({ name, value }, index) => {
    const row = element("div");
    const slot = element("div", "slot");
    const bar = element("u");
    bar.style.width = `${(value / top) * 75}%`;
    bar.style.background = graded ? `hsl(${55 - 55 * (value / top)} 90% 55%)` : colour(panel, name, index);
    slot.append(bar, element("em", "", format(value, panel.fieldConfig.defaults.unit)));
    row.append(element("span", "", name), slot);
    bars.append(row);
  });
  box.append(bars);
}

/** Grafana's `merge` transformation: combines rows that agree in all common labels. */
function merged(panel) {
  const rows = [];
  const columns = [];
  for (const { target, labels, points } of filled(results(panel))) {
    const value = `Value #${target.refId}`;
    const agrees = (row) => !(value in row) && Object.entries(labels).every(([key, it]) => !(key in row) || row[key] === it);
    const row = rows.find(agrees) ?? rows[rows.push({}) - 1];
    Object.assign(row, labels, { [value]: points.at(-1)[1] });
    for (const column of [...Object.keys(labels), value]) if (!columns.includes(column)) columns.push(column);
  }
  return { rows, columns };
}

/** Adds the labels that only other series of the same query have, as empty: Prometheus omits empty labels. */
function filled(all) {
  return all.map((it) => {
    const names = all.filter((other) => other.target === it.target).flatMap((other) => Object.keys(other.labels));
    return { ...it, labels: { ...Object.fromEntries(names.map((label) => [label, ""])), ...it.labels } };
  });
}

function table(panel, box) {
  const { rows, columns } = merged(panel);
  const { excludeByName, renameByName } = panel.transformations.find((it) => it.id === "organize").options;
  const named = columns.filter((it) => !excludeByName[it]).map((it) => [it, renameByName[it] ?? it]);
  const first = named.find(([, name]) => name === panel.options.sortBy[0].displayName)[0];
  const sign = panel.options.sortBy[0].desc ? 1 : -1;
  rows.sort((a, b) => sign * ((b[first] ?? -1) - (a[first] ?? -1)));
  const made = element("table");
  const head = made.insertRow();
  for (const [key, name] of named) head.append(element("th", key.startsWith("Value") ? "number" : "", name));
  for (const row of rows.slice(0, 40)) {
    const line = made.insertRow();
    for (const [key, name] of named) line.append(cell(panel, rows, row, key, name));
  }
  box.append(made);
}

function cell(panel, rows, row, key, name) {
  const number = key.startsWith("Value");
  const text = number ? format(row[key], property(panel, name, "unit")) : row[key] ?? "";
  const made = element("td", number ? "number" : property(panel, name, "links") ? "link" : "", text);
  const options = panel.fieldConfig.overrides.filter((it) => it.matcher.options === name).flatMap((it) => it.properties);
  const shown = options.find((it) => it.id === "custom.cellOptions")?.value.type;
  if (shown === "color-text") made.style.color = property(panel, name, "mappings")[0].options[text]?.color ?? "";
  if (shown === "gauge") {
    const top = property(panel, name, "max") ?? Math.max(...rows.map((it) => it[key] ?? 0), 1e-9);
    const bar = element("u");
    bar.style.width = `${Math.min(1, row[key] / top) * 120}px`;
    made.prepend(bar);
  }
  return made;
}

function heatmap(panel, box) {
  const all = results(panel).map((it) => ({ edge: it.labels.le === "+Inf" ? Infinity : Number(it.labels.le), ...it }));
  all.sort((a, b) => a.edge - b.edge);
  const renamed = (name) => panel.transformations.reduce(
    (result, { options }) => result.replace(new RegExp(options.regex), options.renamePattern), name);
  const canvas = element("canvas", "plot");
  box.append(canvas);
  const [width, height] = [canvas.width = box.clientWidth - 16, canvas.height = box.clientHeight - 44];
  const times = all[0].points.map(([at]) => at);
  const cells = all.map(({ points }, row) => points.map(([, it], at) => Math.max(0, it - (row ? all[row - 1].points[at]?.[1] ?? 0 : 0))));
  const top = Math.max(...cells.flat(), 1e-9);
  const pen = canvas.getContext("2d");
  const left = panel.options.yAxis.axisWidth;
  const [high, wide] = [(height - 32) / all.length, (width - left) / times.length];
  pen.font = "11px sans-serif";
  all.forEach(({ labels }, row) => {
    const y = height - 22 - (row + 1) * high;
    pen.fillStyle = "#2a2e35";
    pen.fillRect(left, y, width - left, 1);
    pen.fillStyle = "#9fa7b3";
    pen.textAlign = "right";
    pen.fillText(renamed(labels.le), left - 8, y + 5, left - 16);
    cells[row].forEach((count, at) => {
      if (count < 1e-9) return;
      pen.fillStyle = `hsl(${18 + 20 * Math.sqrt(count / top)} 90% ${22 + 58 * Math.sqrt(count / top)}%)`;
      pen.fillRect(left + at * wide, y + 1, wide + 0.5, high - 1);
    });
  });
  pen.fillStyle = "#9fa7b3";
  pen.textAlign = "center";
  for (let at = 10; at < times.length; at += Math.ceil(times.length / 6)) {
    pen.fillText(clock(times[at]), left + at * wide, height - 6);
  }
}

function text(panel, box) {
  const [head, , ...rows] = panel.options.content.trim().split("\n").map((it) => it.split("|").slice(1, -1));
  const made = element("table");
  for (const cells of [head, ...rows]) {
    const row = made.insertRow();
    cells.forEach((it) => row.append(element(cells === head ? "th" : "td", "", it.trim())));
  }
  const columns = element("div", "text");
  columns.append(made);
  box.append(columns);
}

const KINDS = { timeseries, stat, bargauge, table, heatmap, text };

function draw(panel, main) {
  const { x, y, w, h } = panel.gridPos;
  const box = element("div", panel.type === "row" ? "row" : "panel");
  Object.assign(box.style, { left: `${x * WIDTH}px`, top: `${y * CELL}px`, width: `${w * WIDTH - GAP}px`,
    height: `${h * CELL - GAP}px` });
  main.append(box);
  if (panel.type === "row") {
    box.textContent = panel.title.replace(/\$\w+/g, "All");
    return;
  }
  box.append(element("h2", "", panel.title));
  if (panel.type !== "text" && results(panel).length === 0) box.append(element("div", "none", "No data"));
  else KINDS[panel.type](panel, box);
}

const header = element("header", "", DATA.dashboard.title);
const chosen = element("div", "chosen");
for (const { name, label, current } of DATA.dashboard.templating.list.slice(1)) chosen.append(element("b", "", `${label}: ${name === "instance" ? DATA.instance : [current.text].flat().join(", ")}`));
header.append(chosen);
const main = element("main");
document.body.append(header, main);
DATA.dashboard.panels.forEach((panel) => draw(panel, main));
const end = Math.max(...DATA.dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
main.style.height = `${end * CELL}px`;
document.body.append(element("footer", "",
  "Rendered from this dashboard's JSON and the results of its queries, run on a Prometheus that scraped rstwatch in the lab. Not a Grafana screenshot."));
