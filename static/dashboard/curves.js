// The curves: what each shows, and drawing them without disturbing a zoom.

import { el, number } from "./dom.js";

const PERCENT = 100;
const REDRAW_MS = 250; // at most four times a second
const MARK_NAMES = 20;

/** One entry per chart. `x` says what a step is; `scale` multiplies values for display. */
const CHARTS = [
  { id: "labels", title: "Labels", unit: "labels", x: "seconds", curves: [["labels/usable", "given"], ["labels/required", "required"]], zero: true },
  { id: "rate", title: "Labels per minute", unit: "labels/min", x: "seconds", digits: 1, curves: [["labels/per_minute", "rate"]], zero: true },
  { id: "queue", title: "Queue depth", unit: "comparisons", x: "seconds", curves: [["queue/ready", "ready"]], zero: true },
  { id: "age", title: "Oldest comparison waiting", unit: "minutes", x: "seconds", curves: [["queue/oldest_minutes", "age"]], zero: true },
  {
    id: "accuracy", title: "Reward model accuracy", unit: "%", x: "labels", scale: PERCENT, digits: 0, line: [25, "chance"],
    curves: [["reward/accuracy_incoming", "incoming labels"], ["reward/accuracy_valid", "valid prompts"]], range: [0, 100],
  },
  { id: "loss", title: "Reward loss", unit: "nats", x: "labels", digits: 3, line: [Math.log(4), "chance"], curves: [["reward/loss_heldout", "held out"], ["reward/loss_valid", "valid prompts"]] },
  { id: "calibration", title: "Calibration error", unit: "of the chance given", x: "labels", digits: 3, curves: [["reward/calibration_error_heldout", "held out"], ["reward/calibration_error_valid", "valid prompts"]], zero: true },
  { id: "score", title: "Score", unit: "reference SDs", x: "episodes", digits: 2, curves: [["objective/score", "score"], ["objective/score_total", "less KL penalty"]] },
  { id: "kl", title: "KL from the reference", unit: "nats per sample", x: "episodes", digits: 2, curves: [["objective/kl", "KL"]], target: true, zero: true },
  { id: "kl-coef", title: "KL coefficient", unit: "score per nat", x: "episodes", digits: 3, curves: [["objective/kl_coef", "coefficient"]], zero: true },
  { id: "entropy", title: "Entropy", unit: "nats per sample", x: "episodes", digits: 1, curves: [["objective/entropy", "entropy"]] },
  { id: "frontier", title: "Score against KL, by policy", unit: "reference SDs", x: "kl", digits: 2, curves: [], frontier: true },
  { id: "length", title: "Response length", unit: "tokens kept", x: "episodes", digits: 1, curves: [["objective/response_length", "length"]], zero: true },
  { id: "invalid", title: "Samples that do not end in time", unit: "%", x: "episodes", scale: PERCENT, complement: true, curves: [["objective/valid_fraction", "share"]], range: [0, 100] },
  { id: "value-loss", title: "Value loss", unit: "squared score", x: "episodes", digits: 3, curves: [["ppo/loss/value", "loss"]], zero: true },
  { id: "clipfrac", title: "Clipped ratios", unit: "% of tokens", x: "episodes", scale: PERCENT, digits: 1, curves: [["ppo/policy/clipfrac", "share"]], zero: true },
  { id: "explained", title: "Explained variance of values", unit: "share", x: "episodes", digits: 2, curves: [["ppo/val/var_explained", "share"]] },
  { id: "speed", title: "Speed", unit: "episodes/s", x: "episodes", digits: 2, curves: [["time/episodes_per_second", "speed"]], zero: true },
  {
    id: "copying", title: "Not in the source", unit: "%", x: "episodes", scale: PERCENT, digits: 0, summary: true, range: [0, 100],
    curves: [["copying/novel_sentences", "sentences"], ["copying/novel_bigrams", "bigrams"]],
  },
  {
    id: "copied", title: "Copied from the source", unit: "%", x: "episodes", scale: PERCENT, digits: 0, summary: true, range: [0, 100],
    curves: [["copying/openings", "openings"], ["copying/position", "mean place, 0 is its beginning"]],
  },
];

const X_TITLES = { labels: "usable labels", episodes: "episodes", kl: "KL from the reference, nats per sample" };
const MARKS = { reward_model: "R", promotion: "P", demotion: "D", roll_back: "B", andon: "!" };
/** Letter and number of an event. */
const markText = (event) => `${MARKS[event.kind] ?? "?"}${event.number}`;
const TIME_UNITS = [["minutes", 60], ["hours", 3600], ["days", 86400]];
const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

export class Charts {
  /** @param {object} options run: its id; klTarget: number or null; summary: whether the run summarises; start and now: ms */
  constructor(place, options) {
    this.options = options;
    const hours = (options.now - options.start) / 3600000; // chosen once: another unit would move a zoomed axis
    [this.timeUnit, this.timeSeconds] = TIME_UNITS[hours < 5 ? 0 : hours < 120 ? 1 : 2];
    this.curves = {};
    this.policies = [];
    this.events = [];
    this.axis = "step";
    this.dirty = new Set();
    this.visible = new Set();
    this.views = new Map();
    this.timer = null;
    this.last = 0;
    const watcher = new IntersectionObserver((entries) => this._seen(entries), { rootMargin: "200px" });
    this.charts = CHARTS.filter((one) => !one.summary || options.summary);
    for (const chart of this.charts) {
      const value = el("output", { class: "chart-value" });
      const key = chart.curves.length > 1 ? el("p", { class: "key muted" }, ...chart.curves.map(([, label], index) => el("span", { class: `key-${index + 1}` }, label))) : null;
      const plot = el("div", { class: "plot", id: `plot-${chart.id}`, role: "img", "aria-label": `${chart.title}, ${chart.unit}` });
      place.append(el("figure", { class: "chart", id: `chart-${chart.id}` },
        el("figcaption", {}, el("span", { class: "chart-title" }, chart.title), el("span", { class: "muted" }, chart.unit), value, el("a", { class: "chart-data muted", href: dataPath(options.run, chart), title: "the data of this chart" }, "CSV")), key, plot));
      this.views.set(chart.id, { chart, plot, value });
      watcher.observe(plot);
    }
    document.addEventListener("visibilitychange", () => this._schedule());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  setAxis(axis) {
    this.axis = axis;
    this.redraw();
  }

  setEvents(events) {
    this.events = events;
    this.redraw();
  }

  /** Score and KL of each published policy: one point each, for the frontier. */
  setPolicies(checkpoints) {
    this.policies = checkpoints
      .filter((one) => one.kind === "policy" && Number.isFinite(one.report.score) && Number.isFinite(one.kl))
      .sort((a, b) => a.number - b.number);
    this.dirty.add("frontier");
    this._schedule();
  }

  /** Put curves in place of those of the same names; what was only ever seen live stays. */
  replace(curves) {
    for (const [name, curve] of Object.entries(curves)) {
      if (curve.step.length || !this.curves[name]) this._put(name, curve);
    }
  }

  /** Add later points. */
  extend(curves) {
    for (const [name, more] of Object.entries(curves)) {
      const known = this.curves[name];
      if (!known || known.step.length === 0) this._put(name, more);
      else if (more.step.length) {
        for (const column of Object.keys(known)) known[column].push(...more[column]);
        this._touch(name);
      }
    }
  }

  /** One point seen just now, for what the status says every second. */
  append(name, seconds, at, value) {
    const curve = this.curves[name] ?? { step: [], at: [], value: [], low: [], high: [] };
    const count = curve.step.length;
    if (count && seconds <= curve.step[count - 1]) return;
    const flat = count > 1 && curve.value[count - 1] === value && curve.value[count - 2] === value;
    const place = flat ? count - 1 : count; // a level stretch needs its two ends only
    Object.assign(curve.step, { [place]: seconds });
    Object.assign(curve.at, { [place]: at });
    Object.assign(curve.value, { [place]: value });
    Object.assign(curve.low, { [place]: null });
    Object.assign(curve.high, { [place]: null });
    this._put(name, curve);
  }

  lastStep(name) {
    return this.curves[name]?.step.at(-1);
  }

  lastPoint(name) {
    const curve = this.curves[name];
    if (!curve || !curve.step.length) return null;
    return { value: curve.value.at(-1), low: curve.low.at(-1), high: curve.high.at(-1) };
  }

  length(name) {
    return this.curves[name]?.step.length ?? 0;
  }

  redraw() {
    for (const id of this.views.keys()) this.dirty.add(id);
    this._schedule();
  }

  _put(name, curve) {
    this.curves[name] = curve;
    this._touch(name);
  }

  _touch(name) {
    for (const chart of this.charts) {
      if (chart.curves.some(([known]) => known === name)) this.dirty.add(chart.id);
    }
    this._schedule();
  }

  _seen(entries) {
    for (const entry of entries) {
      const id = entry.target.id.replace("plot-", "");
      if (entry.isIntersecting) this.visible.add(id);
      else this.visible.delete(id);
    }
    this._schedule();
  }

  /** At most one round of drawing per REDRAW_MS, none in a hidden tab. */
  _schedule() {
    if (this.timer !== null || document.hidden || !window.Plotly) return;
    const wait = Math.max(0, this.last + REDRAW_MS - performance.now());
    this.timer = setTimeout(() => requestAnimationFrame(() => this._draw()), wait);
  }

  _draw() {
    this.timer = null;
    this.last = performance.now();
    const theme = readTheme();
    for (const id of [...this.dirty]) {
      if (!this.visible.has(id)) continue;
      this.dirty.delete(id);
      this._drawOne(this.views.get(id), theme);
    }
  }

  _drawFrontier({ chart, plot, value }, theme) {
    const x = this.policies.map((one) => one.kl);
    const y = this.policies.map((one) => one.report.score);
    const last = this.policies.at(-1);
    value.replaceChildren(last ? `${number(last.report.score, 2)} at ${number(last.kl, 1)} nats` : "no policy yet");
    plot.parentElement.classList.toggle("empty", x.length === 0);
    const trace = {
      x, y, text: this.policies.map((one) => `policy ${one.number}`), type: "scatter", mode: "lines+markers",
      line: { color: theme.series[0], width: 1, dash: "dot" }, marker: { color: theme.series[0], size: 7 },
      hovertemplate: "%{text}: %{y:.2f} at %{x:.1f} nats<extra></extra>",
    };
    const layout = this._layout(chart, theme, undefined);
    window.Plotly.react(plot, [trace], { ...layout, hovermode: "closest", shapes: [], annotations: [], uirevision: "frontier" }, CONFIG);
  }

  _drawOne({ chart, plot, value }, theme) {
    if (chart.frontier) {
      this._drawFrontier({ chart, plot, value }, theme);
      return;
    }
    const shown = chart.curves
      .map(([name, label], index) => ({ label, curve: this.curves[name], color: theme.series[index] }))
      .filter(({ curve }) => curve && curve.step.length);
    value.replaceChildren(latest(chart, shown[0]?.curve));
    plot.parentElement.classList.toggle("empty", shown.length === 0);
    const traces = shown.flatMap((one) => this._traces(chart, one));
    const layout = this._layout(chart, theme, shown[0]?.curve);
    window.Plotly.react(plot, traces, layout, CONFIG);
  }

  _x(chart, curve) {
    if (this.axis === "time") return spread(curve.at).map(localTime);
    return chart.x === "seconds" ? curve.step.map((seconds) => seconds / this.timeSeconds) : curve.step;
  }

  _traces(chart, { label, curve, color }) {
    const scale = chart.scale ?? 1;
    const x = this._x(chart, curve);
    const told = (value) => (chart.complement ? 1 - value : value) * scale;
    const scaled = (column) => column.map((value) => (value === null ? null : told(value)));
    const few = curve.step.length < 40 && chart.x !== "seconds";
    const line = {
      x, y: scaled(curve.value), name: label, type: "scatter", mode: few ? "lines+markers" : "lines",
      line: { color, width: 1.8, shape: chart.x === "seconds" ? "hv" : "linear" }, marker: { color, size: 5 },
      hovertemplate: `%{y:.${chart.digits ?? 0}f} ${chart.unit}`,
    };
    if (!curve.low.some((value) => value !== null)) return [line];
    const edge = { x, type: "scatter", mode: "lines", line: { width: 0, color }, hoverinfo: "skip", showlegend: false };
    const low = { ...edge, y: scaled(curve.low) };
    const high = { ...edge, y: scaled(curve.high), fill: "tonexty", fillcolor: withAlpha(color, 0.16) };
    return [low, high, line];
  }

  _layout(chart, theme, first) {
    const byTime = this.axis === "time" && !chart.frontier;
    const marks = this._marks(chart, first, theme);
    const level = chart.target && this.options.klTarget ? [this.options.klTarget, "target"] : chart.line;
    const axis = { color: theme.muted, gridcolor: theme.grid, linecolor: theme.grid, zeroline: false, automargin: true };
    const title = (text) => ({ text, font: { size: 11, color: theme.muted }, standoff: 6 });
    return {
      uirevision: this.axis, // constant while the axis stays: zoom and pan survive every redraw
      height: 230,
      margin: { l: 46, r: 12, t: named(this.events) ? 26 : 10, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: theme.font, size: 11, color: theme.text },
      hovermode: "x unified",
      hoverlabel: { bgcolor: theme.card, bordercolor: theme.grid, font: { color: theme.text } },
      showlegend: false,
      xaxis: { ...axis, title: title(byTime ? "local time" : X_TITLES[chart.x] ?? `${this.timeUnit} since the start`), type: byTime ? "date" : "linear", nticks: 7 },
      yaxis: { ...axis, title: title(chart.unit), ...(chart.range ? { range: chart.range } : {}), ...(chart.zero ? { rangemode: "tozero" } : {}), nticks: 6 },
      shapes: [...marks.map((mark) => mark.shape), ...(level ? [levelLine(level[0], theme)] : [])],
      annotations: [...marks.map((mark) => mark.name).filter(Boolean), ...(level ? [levelName(level, theme)] : [])],
    };
  }

  /** Upright lines at reward trainings and promotions; named where there are few. */
  _marks(chart, curve, theme) {
    return this.events.map((event) => {
      const reward = event.kind === "reward_model";
      const alarm = event.kind === "andon" || event.kind === "demotion";
      const color = reward ? theme.reward : alarm ? theme.danger : theme.policy;
      const x = this._markX(chart, event, curve);
      if (x === null) return null;
      const shape = { type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", layer: "below", opacity: 0.6, line: { color, width: 1, dash: reward ? "dot" : "solid" } };
      const text = markText(event);
      const name = (alarm || named(this.events)) && { x, y: 1, yref: "paper", yanchor: "bottom", yshift: reward ? 9 : -2, text, hovertext: event.text || undefined, showarrow: false, font: { size: 9, color } };
      return { shape, name };
    }).filter(Boolean);
  }

  _markX(chart, event, curve) {
    const at = Date.parse(event.at);
    if (this.axis === "time") return localTime(at);
    if (chart.x === "seconds") return (at - this.options.start) / 1000 / this.timeSeconds;
    if (chart.x === "episodes") return event.episodes;
    if (event.labels !== null) return event.labels;
    return curve ? stepAt(this.curves["labels/usable"] ?? curve, at, "value") : null;
  }
}

/** Where the data of a chart is to be had as a table. */
function dataPath(run, chart) {
  if (chart.frontier) return `/runs/${run}/policies.csv`;
  return `/runs/${run}/curves.csv?${new URLSearchParams(chart.curves.map(([name]) => ["name", name]))}`;
}

const named = (events) => events.length <= MARK_NAMES;

function levelLine(value, theme) {
  return { type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: theme.muted, width: 1, dash: "dash" } };
}

function levelName([value, name], theme) {
  return { xref: "paper", x: 0, xanchor: "left", y: value, yanchor: "bottom", text: name, showarrow: false, font: { size: 10, color: theme.muted } };
}

function latest(chart, curve) {
  if (!curve) return "no data yet";
  const digits = chart.digits ?? 0;
  const scale = chart.scale ?? 1;
  const told = (value) => (value === null || !chart.complement ? value : 1 - value);
  const [value, ...edges] = [curve.value, curve.low, curve.high].map((column) => told(column.at(-1)));
  const [low, high] = chart.complement ? edges.reverse() : edges;
  const band = low === null || high === null ? "" : ` (${number(low * scale, digits)}–${number(high * scale, digits)})`;
  return number(value * scale, digits) + band;
}

/** A job records its updates together when it ends: spread such points over the time since the one before. */
function spread(times) {
  const out = times.slice();
  let start = 0;
  while (start < times.length) {
    let end = start;
    while (end + 1 < times.length && Math.abs(times[end + 1] - times[start]) < 1000) end += 1;
    const before = start > 0 ? times[start - 1] : times[start];
    const count = end - start + 1;
    for (let i = 0; i < count; i += 1) out[start + i] = before + ((times[end] - before) * (i + 1)) / count;
    start = end + 1;
  }
  return out;
}

/** The value of `column` at the last point not after `at`. */
function stepAt(curve, at, column) {
  let found = null;
  for (let i = 0; i < curve.at.length && curve.at[i] <= at; i += 1) found = curve[column][i];
  return found;
}

/** Plotly shows date strings as they are, so they are written in the reader's own time zone. */
function localTime(ms) {
  const date = new Date(ms);
  return new Date(ms - date.getTimezoneOffset() * 60000).toISOString().slice(0, 23);
}

function readTheme() {
  const style = getComputedStyle(document.getElementById("board"));
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    font: style.fontFamily, text: value("--ink"), muted: value("--muted"), grid: value("--line"), card: value("--surface"),
    series: [value("--d-series-1"), value("--d-series-2")], reward: value("--d-mark-reward"), policy: value("--d-mark-policy"), danger: value("--danger"),
  };
}

function withAlpha(hex, alpha) {
  const parts = [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16));
  return `rgba(${parts.join(",")},${alpha})`;
}
