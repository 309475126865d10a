// The dashboard of a run: asks the learner every two seconds for its status, and for metrics,
// samples and events when the status says that there are new ones. Survives a learner that goes
// away and comes back, resumed or not.

import {addMetrics, keys, lastRow, lastValue, longestSeries, recent, startCharts, timeOrder}
  from "/charts.js";
import {following, loadSamples, startSamples} from "/samples.js";
import {$, Unreachable, clock, duration, el, getJson, number, put, seriesColor}
  from "/util.js";

const POLL_MILLIS = 2000;
const HIDDEN_POLL_MILLIS = 10000;
const POINTS_FETCHED = 600;   // of a series, at first
const POINTS_HELD = 2000;     // then everything is fetched anew, thinned
const STALE_SECONDS = 10;     // a worker that is silent for longer is marked
const SLOW_SECONDS = 30;      // so is a wait without any change
const EVENTS_SHOWN = 300;

// What has been fetched so far, of which learner process.
const seen = {incarnation: null, rows: 0, samples: -1, event: 0, config: false};
let lostAt = null;  // when the learner was last reached, in milliseconds, or null while it answers
let reachedAt = Date.now();

// --- Header and tiles ---

const STATES = {running: "good", finished: "good", starting: "", failed: "bad", preempted: "warn"};

function showHeader(status) {
  const name = status.run_dir.replace(/\/+$/, "").split("/").pop() || status.run_id || "r1";
  put($("run"), name);
  $("run").title = `${status.run_dir}\nrun ${status.run_id}`;
  const stuck = status.state === "running" && !status.ready;
  put($("state"), stuck ? "stalled" : status.state);
  $("state").className = "pill " + (stuck ? "warn" : STATES[status.state] || "");
  const count = Number(status.stages);
  const items = Array.from({length: count}, (_, i) => {
    const current = status.stage && i === Number(status.stage_index);
    const done = i < Number(status.stage_index) || (current && status.state === "finished");
    return el("li", {class: done ? "done" : current ? "on" : ""},
      current ? status.stage : stageNames[i] || String(i + 1));
  });
  $("stages").replaceChildren(...items);
  const reward = status.latest["reward/mean"];
  document.title = [status.stage && `${status.stage} ${status.step}`,
    reward != null && `reward ${number(Number(reward))}`, name].filter(Boolean).join(" · ");
  put($("foot"), `${status.build} · ${status.run_dir} · attempt ${status.incarnation} · ` +
    `policy ${status.policy_version}`);
}

let stageNames = [];  // as far as metrics have shown them

function showBanner(status) {
  const banner = $("banner");
  let text = "";
  if (status.state === "failed") {
    text = "The run failed: " + (status.error || "see the events");
  } else if (status.state === "preempted") {
    text = "Preempted after a checkpoint; the same command resumes.";
  } else if (status.state === "running" && !status.ready) {
    text = status.not_ready_reason;
  }
  banner.hidden = !text;
  banner.className = status.state === "failed" ? "banner bad" : "banner";
  put(banner, text);
}

function showTiles(status) {
  const [step, steps] = [Number(status.step), Number(status.steps)];
  $("step").replaceChildren(String(step), el("span", {}, steps ? ` / ${steps}` : ""));
  const eta = Number(status.eta_seconds);
  put($("eta"), (eta >= 0 && status.state === "running" ? `${duration(eta)} left · ` : "") +
    `${duration(Number(status.seconds_total))} so far`);
  $("step-meter").style.width = steps ? `${Math.min(100, 100 * step / steps)}%` : "0";

  $("phase").replaceChildren(status.phase || "–",
    el("span", {}, status.phase ? ` for ${duration(Number(status.phase_seconds))}` : ""));
  const from = status.awaited_from.join(", ");
  put($("awaited"), status.awaited
    ? `awaiting ${status.awaited}${from ? " from " + from : ""}` +
      ` · unchanged for ${duration(Number(status.awaited_seconds))}`
    : status.phase ? "nothing is awaited" : "");
  $("phase-tile").classList.toggle("slow", Boolean(status.awaited) &&
    Number(status.awaited_seconds) > SLOW_SECONDS);
}

function latest(status, key) {
  const value = status.latest[key];
  return value == null ? lastValue(key) : Number(value);
}

function showNumbers(status) {
  const rewards = recent("reward/mean", 40);
  put($("reward"), number(latest(status, "reward/mean")));
  $("reward-more").replaceChildren();
  if (rewards.length >= 20) {
    const half = Math.floor(rewards.length / 2);
    const average = (list) => list.reduce((a, b) => a + b, 0) / list.length;
    const change = average(rewards.slice(half)) - average(rewards.slice(0, half));
    $("reward-more").append(el("span", {class: change >= 0 ? "up" : "down"},
      (change >= 0 ? "+" : "−") + number(Math.abs(change))), ` over ${half} steps`);
  }
  // Of several sets the one that was evaluated last.
  const [set] = keys().filter((key) => /^eval\/.+\/pass@1$/.test(key))
    .sort((a, b) => lastRow(b) - lastRow(a));
  $("eval").replaceChildren(set ? number(lastValue(set)) : "–");
  if (set) {
    const [low, high] = [lastValue(set + "_low"), lastValue(set + "_high")];
    if (low != null) $("eval").append(el("span", {}, ` ${number(low)}–${number(high)}`));
    const greedy = lastValue(set.replace(/pass@1$/, "greedy"));
    put($("eval-more"), [set.split("/").slice(1, -1).join("/"),
      greedy != null && `greedy ${number(greedy)}`].filter(Boolean).join(" · "));
  }
  const fleet = status.workers.filter((worker) => worker.connected)
    .reduce((sum, worker) => sum + Number(worker.tokens_per_second), 0);
  const generated = latest(status, "perf/gen_tokens_per_second");
  $("speed").replaceChildren(number(fleet || generated), el("span", {}, " generated"));
  const train = latest(status, "perf/train_tokens_per_second");
  put($("speed-more"), [train != null && `${number(train)} trained`,
    latest(status, "length/mean") != null && `${number(latest(status, "length/mean"))} a response`]
    .filter(Boolean).join(" · "));
}

// Where the last step's seconds went.
function showShare(status) {
  const parts = Object.entries(status.latest)
    .filter(([key]) => /^time\/(?!worker_|step$)/.test(key))
    .map(([key, value]) => [key.slice(5), Number(value)])
    .sort(([a], [b]) => timeOrder(a) - timeOrder(b) || (a < b ? -1 : 1));
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  $("share").hidden = !(total > 0);
  if (!(total > 0)) return;
  $("share").replaceChildren(
    el("span", {}, `last step ${duration(total)}`),
    el("span", {class: "track"}, ...parts.map(([, value], i) =>
      el("i", {style: {width: `${100 * value / total}%`, background: seriesColor(i)}}))),
    ...parts.map(([name, value], i) => el("span", {},
      el("i", {class: "dot", style: {background: seriesColor(i)}}),
      `${name} ${Math.round(100 * value / total)} %`)));
}

// --- Tables ---

function workerRow(worker) {
  const silent = Number(worker.last_seen_seconds);
  const used = Number(worker.kv_used_frac);
  const lag = Number(worker.lag);
  return el("tr", {class: !worker.connected ? "lost" : silent > STALE_SECONDS ? "stale" : ""},
    el("td", {}, worker.worker_id),
    el("td", {}, `${worker.host} / ${worker.pid}`),
    el("td", {class: "n"}, String(worker.policy_version)),
    el("td", {class: lag > 0 ? "n warn" : "n"}, String(lag)),
    el("td", {class: "n"}, number(Number(worker.tokens_per_second))),
    el("td", {class: "n"}, String(worker.leased_groups)),
    el("td", {class: "n"}, String(worker.running_samples)),
    el("td", {}, el("span", {class: "gauge"}, el("i", {style: {width: `${100 * used}%`}})),
      `${Math.round(100 * used)} %`),
    el("td", {class: "n"}, number(Number(worker.generated_tokens_total))),
    el("td", {class: "n"}, `${duration(silent)} ago`),
    el("td", {}, worker.connected ? worker.phase.replaceAll("_", " ") : "lost"));
}

function showFleet(status) {
  $("workers").replaceChildren(...(status.workers.length ? status.workers.map(workerRow)
    : [el("tr", {}, el("td", {colspan: 11, class: "empty"}, "No worker has joined."))]));
  const connected = status.workers.filter((worker) => worker.connected).length;
  put($("fleet-hint"), `${connected} of ${status.workers.length} connected`);
  put($("queues"), status.queues.map((q) => `${q.name.replaceAll("_", " ")} ${q.size}` +
    (Number(q.limit) ? ` / ${q.limit}` : "")).join(" · "));
}

function addEvents(events) {
  const rows = events.map((event) => el("tr", {},
    el("td", {class: "hint"}, clock(Number(event.unix_seconds))),
    el("td", {class: {warning: "warn", error: "bad"}[event.level] || "hint"}, event.level),
    el("td", {class: "text"}, event.text)));
  const table = $("event-rows");
  table.prepend(...rows.reverse());
  while (table.rows.length > EVENTS_SHOWN) table.deleteRow(-1);
}

// --- Polling ---

async function fetchMetrics(rows) {
  const fresh = seen.rows === 0 || rows < seen.rows || longestSeries() > POINTS_HELD;
  const reply = await getJson(fresh ? `/api/v1/metrics?points_max=${POINTS_FETCHED}`
    : `/api/v1/metrics?since=${seen.rows}`);
  addMetrics(reply, fresh);
  seen.rows = Number(reply.rows);
  stageNames = [...new Set(reply.stages.map((mark) => mark.stage))];
}

async function fetchEvents(last) {
  const reply = await getJson(`/api/v1/events?since=${seen.event}`);
  addEvents(reply.events);
  seen.event = last;
}

async function fetchConfig() {
  put($("toml"), (await getJson("/api/v1/config")).toml || "(none)");
  seen.config = true;
}

// Another learner process: its rows and events count anew.
function forget(status) {
  if (seen.incarnation === status.incarnation) return;
  Object.assign(seen, {incarnation: status.incarnation, rows: 0, samples: -1, event: 0,
    config: false});
  $("event-rows").replaceChildren();
}

async function fetchSamples(total) {
  if (total === seen.samples || (seen.samples >= 0 && !following())) return;
  await loadSamples();
  seen.samples = total;
}

async function poll() {
  const status = await getJson("/api/v1/status");
  forget(status);
  if (Number(status.metrics_rows) !== seen.rows) await fetchMetrics(Number(status.metrics_rows));
  showHeader(status);
  showBanner(status);
  showTiles(status);
  showNumbers(status);
  showShare(status);
  showFleet(status);
  if (Number(status.last_event_id) !== seen.event) await fetchEvents(Number(status.last_event_id));
  await fetchSamples(Number(status.samples_total));
  if (!seen.config) await fetchConfig();
}

function showLost() {
  put($("state"), "unreachable");
  $("state").className = "pill bad";
  $("banner").hidden = false;
  $("banner").className = "banner bad";
  put($("banner"), `The learner is not reachable since ${clock(lostAt / 1000)} ` +
    `(${duration((Date.now() - lostAt) / 1000)}). This is what was seen last; asking again.`);
}

async function tick() {
  try {
    await poll();
    lostAt = null;
    reachedAt = Date.now();
  } catch (error) {
    report(error);
  }
}

function report(error) {
  if (!(error instanceof Unreachable)) return console.error(error);
  lostAt ??= reachedAt;
  showLost();
}

let wake = () => {};
document.addEventListener("visibilitychange", () => wake());

async function run() {
  for (;;) {
    await tick();
    await new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, document.hidden ? HIDDEN_POLL_MILLIS : POLL_MILLIS);
    });
  }
}

startCharts();
startSamples(() => loadSamples().catch(report));
run();
