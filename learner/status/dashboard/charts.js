// The curve grid. Every chart is a canvas over the rows of metrics.jsonl; hover and zoom act on all
// of them at once.

import {$, cssColor, el, number, put, seriesColor} from "/util.js";

// One entry a chart: title, then patterns of metric keys. A pattern is a key, or a regular
// expression whose first group names the curve. Options: unit = the values are shares of 1; log =
// logarithmic at first; stack = areas on top of each other. Evaluations (eval/…) are drawn with
// dots and never smoothed.
const SECTIONS = [
  ["Training", [
    ["Reward", ["reward/mean", "reward/std"]],
    ["Reward parts", [/^reward\/(.+)\/mean$/]],
    ["Held-out accuracy", [/^eval\/(.+\/pass@\d+)$/, /^eval\/(.+\/greedy)$/], {unit: true}],
    ["Response length", [/^length\/(mean|p50|p95|terminated_mean)$/, /^eval\/(.+)\/length_mean$/]],
    ["Format", [/^format\/(.+)_frac$/, /^eval\/(.+)\/format_frac$/], {unit: true}],
    ["Loss", [/^(loss|loss\/.+|.+\/loss)$/]],
    ["Groups without signal", ["group/zero_std_frac"], {unit: true}],
    ["Cut off", ["length/truncated_frac"], {unit: true}],
  ]],
  ["Stability", [
    ["Entropy", ["policy/entropy"]],
    ["KL", ["policy/kl_ref", "policy/kl_old"]],
    ["Learner against worker", [/^mismatch\/(.+)$/], {log: true}],
    ["Clipped", [/^policy\/clip_(low|high)_frac$/], {unit: true}],
    ["Largest ratio", ["policy/ratio_max"]],
    ["Gradient norm", ["optim/grad_norm"]],
    ["Learning rate", ["optim/lr"]],
    ["Lag", [/^lag\/(.+)$/]],
    ["Lost and skipped", ["reward/masked_frac", "optim/skipped_steps", /^groups\/(.+)$/]],
  ]],
  ["Performance", [
    ["Tokens per second", [/^perf\/(.+)_tokens_per_second$/]],
    ["Seconds of a step", [/^time\/(?!worker_)(.+)$/], {stack: true}],
    ["Seconds at the workers", [/^time\/worker_(.+)$/]],
    ["Utilisation", ["perf/mfu", "perf/mbu", "mem/kv_used_frac"], {unit: true}],
    ["Memory", [/^mem\/(allocated|reserved|rss)$/]],
  ]],
  ["Mixture of experts", [
    ["Expert load over the mean", [/^moe\/(.*load_(?:max|min)_over_mean.*)$/]],
    ["Expert load", [/^moe\/(.*load\/.+)$/]],
    ["Router entropy", [/^moe\/(.*entropy.*)$/]],
    ["Dropped, flipped", [/^moe\/((?:.*\/)?(?:dropped|flip)_frac)$/], {unit: true}],
    ["Other", [/^moe\/(.+)$/]],
  ]],
];
// No curves of their own: they stand beside the one that they belong to, or are the sum of a stack.
const COMPANIONS = /^(eval\/.+(_low|_high|\/samples)|time\/step)$/;
const CURVES_MAX = 16;
const HEIGHT = 148;

// zoom and drag are spans of rows, hover is a row, over the chart that the pointer is on.
const view = {stages: [], stage: "", smoothing: 0.6, zoom: null, hover: null, over: null,
  drag: null};
const charts = [];  // {section, title, curves: [{key, name}], options, log, canvas, legend, root}
let store = new Map();  // key -> {row: [], step: [], value: []}
let scheduled = false;

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; charts.forEach(draw); });
}

// Index of the last row <= row, or -1.
function before(rows, row) {
  let low = -1;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle] <= row) low = middle; else high = middle - 1;
  }
  return low;
}

function nearest(rows, row) {
  const i = before(rows, row);
  if (i < 0) return 0;
  return i + 1 < rows.length && rows[i + 1] - row < row - rows[i] ? i + 1 : i;
}

function stageOf(row) {
  let name = "";
  for (const mark of view.stages) if (mark.first_row <= row) name = mark.stage;
  return name;
}

// Exponential moving average with the start corrected; begins anew after a value that is no number
// and at each stage.
function smooth(series, factor) {
  const smoothed = new Array(series.value.length);
  let sum = 0;
  let weight = 0;
  let stage = null;
  for (let i = 0; i < smoothed.length; ++i) {
    const value = series.value[i];
    const here = stageOf(series.row[i]);
    if (!Number.isFinite(value) || here !== stage) sum = weight = 0;
    stage = here;
    if (!Number.isFinite(value)) { smoothed[i] = NaN; continue; }
    sum = sum * factor + value * (1 - factor);
    weight = weight * factor + 1 - factor;
    smoothed[i] = sum / weight;
  }
  return smoothed;
}

// --- Which charts there are ---

function match(pattern, key) {
  if (typeof pattern === "string") return pattern === key ? key.split("/").pop() : null;
  const found = pattern.exec(key);
  return found && (found[1] || key);
}

const isEvaluation = (key) => key.startsWith("eval/");

// Names without what all share: "test/pass@1" and "test/greedy" become "pass@1" and "greedy".
function shorten(curves) {
  const parts = curves.map((curve) => curve.name.split("/"));
  while (parts.length > 1 && parts.every((p) => p.length > 1 && p[0] === parts[0][0])) {
    parts.forEach((p) => p.shift());
  }
  const mixed = new Set(curves.map((curve) => isEvaluation(curve.key))).size === 2;
  curves.forEach((curve, i) => {
    curve.name = parts[i].join(" ") + (mixed && isEvaluation(curve.key) ? " held-out" : "");
  });
}

const TIME_ORDER = ["data", "generate", "score", "wait", "train", "publish", "checkpoint"];
// Phases of a step in the order in which they happen; others behind.
export function timeOrder(name) {
  const at = TIME_ORDER.indexOf(name);
  return at < 0 ? TIME_ORDER.length : at;
}

function plan() {
  const left = new Set([...store.keys()].filter((key) => !COMPANIONS.test(key)).sort());
  const planned = [];
  for (const [section, definitions] of SECTIONS) {
    for (const [title, patterns, options = {}] of definitions) {
      const curves = [];
      for (const pattern of patterns) {
        for (const key of left) {
          const name = match(pattern, key);
          if (name == null) continue;
          left.delete(key);
          curves.push({key, name});
        }
      }
      if (options.stack) curves.sort((a, b) => timeOrder(a.name) - timeOrder(b.name));
      shorten(curves);
      if (curves.length) planned.push({section, title, curves, options});
    }
  }
  const groups = new Map();
  for (const key of left) {
    const title = key.includes("/") ? key.slice(0, key.lastIndexOf("/")) : "other";
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push({key, name: key.split("/").pop()});
  }
  for (const [title, curves] of groups) {
    planned.push({section: "More", title, curves, options: {}});
  }
  return planned.flatMap((chart) => {
    const pieces = [];
    for (let i = 0; i < chart.curves.length; i += CURVES_MAX) {
      pieces.push({...chart, curves: chart.curves.slice(i, i + CURVES_MAX)});
    }
    return pieces;
  });
}

function build() {
  charts.length = 0;
  const root = $("charts");
  root.replaceChildren();
  let grid = null;
  let section = null;
  for (const chart of plan()) {
    if (chart.section !== section) {
      section = chart.section;
      grid = el("div", {class: "charts"});
      if (section === "More") {
        root.append(el("details", {ontoggle: schedule}, el("summary", {class: "part"}, section),
          grid));
      } else {
        root.append(el("h3", {class: "part"}, section), grid);
      }
    }
    addChart(chart, grid);
  }
  if (!charts.length) root.append(el("p", {class: "empty"}, "No metrics yet."));
}

function addChart(chart, grid) {
  chart.log = Boolean(chart.options.log);
  chart.canvas = el("canvas", {role: "img"});
  chart.legend = el("div", {class: "legend"});
  chart.values = chart.curves.map((curve, i) => {
    const value = el("b");
    chart.legend.append(el("span", {title: curve.key}, el("i", {class: "dot", "data-color": i}),
      curve.name, value));
    return value;
  });
  const log = el("button", {title: "logarithmic axis", class: chart.log ? "on" : "",
    "aria-pressed": String(chart.log)}, "log");
  log.addEventListener("click", () => {
    chart.log = !chart.log;
    log.classList.toggle("on", chart.log);
    log.setAttribute("aria-pressed", String(chart.log));
    draw(chart);
  });
  if (chart.options.stack) log.hidden = true;
  chart.root = el("div", {class: "chart"},
    el("div", {class: "top"}, el("h4", {}, chart.title), log), chart.legend, chart.canvas);
  grid.append(chart.root);
  listen(chart);
  charts.push(chart);
}

// --- Hover and zoom ---

function listen(chart) {
  let pressed = null;
  const rowAt = (event) => {
    const {scale} = chart;
    return scale && scale.rowAt(event.clientX - chart.canvas.getBoundingClientRect().left);
  };
  chart.canvas.addEventListener("pointerdown", (event) => {
    pressed = rowAt(event);
    chart.canvas.setPointerCapture(event.pointerId);
  });
  chart.canvas.addEventListener("pointermove", (event) => {
    view.hover = rowAt(event);
    view.over = chart;
    view.drag = pressed == null ? null : [pressed, view.hover];
    schedule();
  });
  chart.canvas.addEventListener("pointerup", (event) => {
    const released = rowAt(event);
    if (pressed != null && chart.scale) {
      const [low, high] = [Math.min(pressed, released), Math.max(pressed, released)];
      if ((high - low) / (chart.scale.last - chart.scale.first) > 0.02) setZoom([low, high]);
    }
    pressed = view.drag = null;
    schedule();
  });
  chart.canvas.addEventListener("pointerleave", () => { view.hover = null; schedule(); });
  chart.canvas.addEventListener("dblclick", () => setZoom(null));
}

function setZoom(zoom) {
  view.zoom = zoom;
  $("unzoom").hidden = !zoom;
  schedule();
}

// --- Drawing ---

function niceStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
}

// Rows that the chart spans: its own curves', within the stage and the zoom.
function extent(chart) {
  let first = Infinity;
  let last = -Infinity;
  for (const {key} of chart.curves) {
    const rows = store.get(key).row;
    first = Math.min(first, rows[0]);
    last = Math.max(last, rows[rows.length - 1]);
  }
  if (view.stage) {
    const begins = view.stages.findIndex((mark) => mark.stage === view.stage);
    const next = view.stages.findLastIndex((mark) => mark.stage === view.stage) + 1;
    if (begins < 0) return null;
    first = Math.max(first, view.stages[begins].first_row);
    if (next < view.stages.length) last = Math.min(last, view.stages[next].first_row - 1);
  }
  if (view.zoom) {
    first = Math.max(first, view.zoom[0]);
    last = Math.min(last, view.zoom[1]);
  }
  return first <= last ? [first, Math.max(last, first + 1)] : null;
}

// What is drawn of one curve: rows, raw values and the line, within the extent and one point beyond
// on each side.
function visibleCurve(chart, curve, [first, last]) {
  const series = store.get(curve.key);
  const from = Math.max(0, before(series.row, first));
  const to = Math.min(series.row.length, before(series.row, last) + 2);
  const plain = isEvaluation(curve.key) || chart.options.stack || view.smoothing === 0;
  const line = plain ? series.value : smooth(series, view.smoothing);
  return {
    row: series.row.slice(from, to), step: series.step.slice(from, to),
    raw: series.value.slice(from, to), line: line.slice(from, to), plain,
  };
}

// Each curve on top of those before it, at the rows of the first.
function stack(curves) {
  const base = curves[0];
  const sums = base.row.map(() => 0);
  for (const curve of curves) {
    curve.bottom = sums.slice();
    base.row.forEach((row, i) => {
      const value = curve.raw[nearest(curve.row, row)];
      sums[i] += Number.isFinite(value) ? value : 0;
    });
    curve.top = sums.slice();
  }
  curves.forEach((curve) => { curve.areaRow = base.row; });
}

function valueRange(chart, curves, [first, last]) {
  const logOn = chart.log && !chart.options.stack;
  let low = Infinity;
  let high = -Infinity;
  const take = (value) => {
    if (!Number.isFinite(value) || (logOn && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  for (const curve of curves) {
    if (chart.options.stack) { curve.top.forEach(take); take(0); continue; }
    curve.row.forEach((row, i) => { if (row >= first && row <= last) take(curve.raw[i]); });
  }
  if (low > high || (low === 0 && high === 0)) return logOn ? [0.1, 1] : [0, 1];
  if (logOn) return low === high ? [low / 2, high * 2] : [low, high];
  if (chart.options.unit && low >= 0 && high <= 1 && high > 0.2) return [0, 1];
  if (low >= 0 && low < 0.4 * high) low = 0;
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  return [low, high + (high - low) * 0.04];
}

function makeScale(chart, curves, [first, last], width) {
  const [low, high] = valueRange(chart, curves, [first, last]);
  const logOn = chart.log && !chart.options.stack;
  const box = {left: 42, right: width - 4, top: 5, bottom: HEIGHT - 17};
  const f = logOn ? (v) => Math.log10(Math.max(v, low * 1e-3)) : (v) => v;
  const [bottom, top] = [f(low), f(high)];
  return {
    first, last, low, high, logOn, box,
    x: (row) => box.left + (row - first) / (last - first) * (box.right - box.left),
    y: (value) => box.bottom - (f(value) - bottom) / (top - bottom || 1) * (box.bottom - box.top),
    rowAt: (x) => Math.min(last, Math.max(first,
      first + (x - box.left) / (box.right - box.left) * (last - first))),
  };
}

function valueTicks({low, high, logOn}) {
  const ticks = [];
  if (logOn) {
    const step = Math.max(1, Math.ceil((Math.log10(high) - Math.log10(low)) / 4));
    for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e += step) ticks.push(10 ** e);
    return ticks.length > 1 ? ticks : [low, high];
  }
  const step = niceStep(high - low, 4);
  for (let i = Math.ceil(low / step); i * step <= high; ++i) ticks.push(i * step || 0);
  return ticks;
}

function drawGrid(g, chart, curves, scale) {
  const {box, first, last} = scale;
  g.strokeStyle = cssColor("--grid");
  g.fillStyle = cssColor("--muted");
  g.lineWidth = 1;
  g.textAlign = "right";
  g.textBaseline = "middle";
  for (const tick of valueTicks(scale)) {
    const y = Math.round(scale.y(tick)) + 0.5;
    g.beginPath(); g.moveTo(box.left, y); g.lineTo(box.right, y); g.stroke();
    g.fillText(number(tick), box.left - 6, y);
  }
  g.textBaseline = "alphabetic";
  g.textAlign = "center";
  const inside = view.stages.filter((mark) => mark.first_row > first && mark.first_row <= last);
  if (inside.length) {
    drawStages(g, inside, scale);
  } else {
    drawSteps(g, curves[0], scale);
  }
}

// Several stages: a dashed line where each begins, and its name where there is room.
function drawStages(g, inside, {x, box, first, last}) {
  const starts = [{stage: stageOf(first), first_row: first}, ...inside];
  starts.forEach((mark, i) => {
    const end = i + 1 < starts.length ? starts[i + 1].first_row : last;
    const [left, right] = [x(mark.first_row), x(end)];
    if (i > 0) {
      g.strokeStyle = cssColor("--faint");
      g.setLineDash([2, 3]);
      g.beginPath(); g.moveTo(left, box.top); g.lineTo(left, box.bottom); g.stroke();
      g.setLineDash([]);
    }
    if (g.measureText(mark.stage).width + 6 < right - left) {
      g.fillText(mark.stage, (left + right) / 2, HEIGHT - 4);
    }
  });
}

function drawSteps(g, curve, {x, box}) {
  if (!curve.row.length) return;
  const [from, to] = [curve.step[0], curve.step[curve.step.length - 1]];
  if (to <= from) return;
  const step = Math.max(1, niceStep(to - from, 5));
  for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) {
    const i = Math.max(0, before(curve.step, tick));
    const next = Math.min(i + 1, curve.step.length - 1);
    const part = next === i ? 0 : (tick - curve.step[i]) / (curve.step[next] - curve.step[i] || 1);
    const at = x(curve.row[i] + part * (curve.row[next] - curve.row[i]));
    if (at >= box.left && at <= box.right - 4) g.fillText(String(tick), at, HEIGHT - 4);
  }
}

function path(g, rows, values, {x, y, logOn}) {
  g.beginPath();
  let pen = false;
  for (let i = 0; i < rows.length; ++i) {
    const drawable = Number.isFinite(values[i]) && !(logOn && values[i] <= 0);
    if (!drawable) { pen = false; continue; }
    if (pen) g.lineTo(x(rows[i]), y(values[i])); else g.moveTo(x(rows[i]), y(values[i]));
    pen = true;
  }
}

// The 95 % interval of a pass@1 curve, from its companions.
function drawBand(g, key, scale) {
  const [low, high] = [store.get(key + "_low"), store.get(key + "_high")];
  if (!low || !high) return;
  g.beginPath();
  low.row.forEach((row, i) => g.lineTo(scale.x(row), scale.y(low.value[i])));
  for (let i = high.row.length - 1; i >= 0; --i) {
    g.lineTo(scale.x(high.row[i]), scale.y(high.value[i]));
  }
  g.globalAlpha = 0.14;
  g.fill();
  g.globalAlpha = 1;
}

function drawCurve(g, chart, curve, key, color, scale) {
  g.strokeStyle = g.fillStyle = color;
  g.lineJoin = "round";
  if (chart.options.stack) {
    g.beginPath();
    curve.areaRow.forEach((row, i) => g.lineTo(scale.x(row), scale.y(curve.top[i])));
    for (let i = curve.areaRow.length - 1; i >= 0; --i) {
      g.lineTo(scale.x(curve.areaRow[i]), scale.y(curve.bottom[i]));
    }
    g.globalAlpha = 0.75;
    g.fill();
    g.globalAlpha = 1;
    return;
  }
  if (isEvaluation(key)) drawBand(g, key, scale);
  if (!curve.plain) {
    g.lineWidth = 1;
    g.globalAlpha = 0.22;
    path(g, curve.row, curve.raw, scale);
    g.stroke();
    g.globalAlpha = 1;
  }
  g.lineWidth = 1.6;
  g.setLineDash(key.endsWith("/greedy") ? [5, 3] : []);
  path(g, curve.row, curve.line, scale);
  g.stroke();
  g.setLineDash([]);
  const few = curve.row.length === 1 || (isEvaluation(key) && curve.row.length < 60);
  if (!few) return;
  curve.row.forEach((row, i) => {
    if (!Number.isFinite(curve.line[i])) return;
    g.beginPath(); g.arc(scale.x(row), scale.y(curve.line[i]), 2.2, 0, 7); g.fill();
  });
}

function drawHover(g, scale) {
  const {box, first, last} = scale;
  if (view.drag) {
    const [a, b] = view.drag.map((row) => scale.x(Math.min(last, Math.max(first, row))));
    g.globalAlpha = 0.15;
    g.fillStyle = cssColor("--accent");
    g.fillRect(Math.min(a, b), box.top, Math.abs(b - a), box.bottom - box.top);
    g.globalAlpha = 1;
  }
  if (view.hover == null || view.hover < first || view.hover > last) return false;
  const x = Math.round(scale.x(view.hover)) + 0.5;
  g.strokeStyle = cssColor("--faint");
  g.beginPath(); g.moveTo(x, box.top); g.lineTo(x, box.bottom); g.stroke();
  return true;
}

// "rl step 120" beside the crosshair.
function drawHoverLabel(g, curve, scale) {
  const i = nearest(curve.row, view.hover);
  const text = `${stageOf(curve.row[i])} step ${curve.step[i]}`;
  const width = g.measureText(text).width + 8;
  const x = Math.min(scale.box.right - width, Math.max(scale.box.left, scale.x(view.hover) + 4));
  g.fillStyle = cssColor("--panel");
  g.globalAlpha = 0.85;
  g.fillRect(x, scale.box.top, width, 15);
  g.globalAlpha = 1;
  g.fillStyle = cssColor("--ink");
  g.textAlign = "left";
  g.fillText(text, x + 4, scale.box.top + 11);
}

function setValues(chart, curves, hovering) {
  chart.curves.forEach((curve, i) => {
    const {row, raw} = curves[i];
    const at = hovering ? nearest(row, view.hover) : raw.length - 1;
    let text = number(raw[at]);
    const [low, high] = ["_low", "_high"].map((end) => store.get(curve.key + end));
    const j = low && high ? low.row.indexOf(row[at]) : -1;
    if (j >= 0) text += ` (${number(low.value[j])}–${number(high.value[j])})`;
    put(chart.values[i], text);
  });
}

function draw(chart) {
  const {canvas} = chart;
  const width = canvas.clientWidth;
  if (!width) return;  // in a closed <details>
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(HEIGHT * ratio)) canvas.height = Math.round(HEIGHT * ratio);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, HEIGHT);
  g.font = "10.5px system-ui, sans-serif";
  const span = extent(chart);
  chart.root.hidden = !span && !view.zoom;
  chart.scale = null;
  if (!span) return;
  const curves = chart.curves.map((curve) => visibleCurve(chart, curve, span));
  if (chart.options.stack) stack(curves);
  const scale = chart.scale = makeScale(chart, curves, span, width);
  drawGrid(g, chart, curves, scale);
  g.save();
  g.beginPath();
  g.rect(scale.box.left - 2, 0, scale.box.right - scale.box.left + 6, scale.box.bottom + 2);
  g.clip();
  curves.forEach((curve, i) =>
    drawCurve(g, chart, curve, chart.curves[i].key, seriesColor(i), scale));
  g.restore();
  const hovering = drawHover(g, scale);
  if (hovering && view.over === chart) drawHoverLabel(g, curves[0], scale);
  setValues(chart, curves, hovering);
  chart.legend.querySelectorAll(".dot").forEach((dot) => {
    dot.style.background = seriesColor(Number(dot.dataset.color));
  });
  canvas.setAttribute("aria-label", `${chart.title}: ${chart.legend.textContent}`);
}

// --- What app.js uses ---

// Series of a MetricsReply are added; `fresh` forgets what was there.
export function addMetrics(reply, fresh) {
  if (fresh) store = new Map();
  let changed = fresh;
  view.stages = reply.stages;
  for (const series of reply.series) {
    if (!store.has(series.key)) {
      store.set(series.key, {row: [], step: [], value: []});
      changed = true;
    }
    const known = store.get(series.key);
    known.row.push(...series.row);
    known.step.push(...series.step);
    known.value.push(...series.value.map(Number));  // "NaN" and "Infinity" come as strings
  }
  if (changed) build();
  const select = $("stage");
  const names = ["", ...new Set(view.stages.map((mark) => mark.stage))];
  if (names.length !== select.options.length) {
    select.replaceChildren(...names.map((name) => el("option", {value: name}, name || "all")));
    select.value = names.includes(view.stage) ? view.stage : "";
  }
  schedule();
}

// Points held; app.js fetches everything again, thinned, when these are many.
export function longestSeries() {
  return Math.max(0, ...[...store.values()].map((series) => series.row.length));
}

// The last `count` values of a key in its present stage.
export function recent(key, count) {
  const series = store.get(key);
  if (!series) return [];
  const stage = stageOf(series.row[series.row.length - 1]);
  return series.value.slice(-count).filter((value, i, all) =>
    Number.isFinite(value) && stageOf(series.row[series.row.length - all.length + i]) === stage);
}

export const keys = () => [...store.keys()];

export function lastValue(key) {
  const series = store.get(key);
  return series ? series.value[series.value.length - 1] : undefined;
}

// The row of metrics that a key was last in.
export const lastRow = (key) => store.get(key).row.at(-1);

export function startCharts() {
  const slider = $("smooth");
  slider.addEventListener("input", () => {
    view.smoothing = Number(slider.value);
    put($("smooth-value"), view.smoothing.toFixed(2));
    schedule();
  });
  $("stage").addEventListener("change", () => { view.stage = $("stage").value; setZoom(null); });
  $("unzoom").addEventListener("click", () => setZoom(null));
  addEventListener("resize", schedule);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", schedule);
}
