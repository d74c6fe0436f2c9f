// Tiles, jobs, samples and checkpoints: what a status or board says, as elements.

import { age, checkpointName, clock, el, fill, KINDS, number } from "./dom.js";

const SILENT_SECONDS = 30;
const PHASES = { running: "running", paused: "paused", finished: "finished", stopped: "stopped" };

/** @param {object} accuracy the newest leak-free accuracy ({value, low, high}) or null */
export function showTiles(summary, now, accuracy, workers) {
  const { checkpoints } = summary;
  const share = (value) => `${number(value * 100)} %`;
  const right = accuracy
    ? `right on ${share(accuracy.value)} of new labels (${number(accuracy.low * 100)}–${number(accuracy.high * 100)})`
    : "not yet tested on new labels";
  const serving = checkpoints.serving ? `serving for ${age((now - Date.parse(checkpoints.serving.created_at)) / 1000)}` : "";
  fill("tiles",
    tile("State", summary.andon ? "line stopped" : PHASES[summary.phase], waiting(summary)),
    tile("Usable labels", [number(summary.labels_usable), el("small", {}, ` of ${number(summary.labels_total)}`)],
      `${number(summary.labels_required)} required now`, bar(summary.labels_usable, summary.labels_total, summary.labels_required)),
    tile("Episodes", [number(summary.episodes), el("small", {}, ` of ${number(summary.episodes_total)}`)],
      plural(summary.promotions, "promotion"), bar(summary.episodes, summary.episodes_total)),
    tile("Ready to label", number(summary.ready), `${number(summary.leased)} on somebody's screen`),
    tile("Labelers", number(summary.active_labelers), `${number(summary.labels_per_minute, 1)} labels/min, last 5 min`),
    tile("Policy", checkpointName(checkpoints.serving), checkpoints.candidate ? `${checkpointName(checkpoints.candidate)} is a candidate` : serving),
    tile("Reward model", checkpoints.reward_model ? `model ${checkpoints.reward_model.number}` : "–", checkpoints.reward_model ? right : "none yet"),
    workerTile(workers),
    tile("Jobs", [number(summary.jobs.length), el("small", {}, " in flight")], summary.failed.length ? `${summary.failed.length} failed` : "none failed", null, summary.failed.length > 0),
  );
}

function workerTile(workers) {
  const living = workers.filter((one) => one.lives);
  const silent = workers.length - living.length;
  const busy = living.filter((one) => one.doing).length;
  const memory = living.reduce((sum, one) => sum + one.memory_bytes, 0);
  const under = silent ? `${silent} gone without a word` : living.length ? `${busy} at work, ${gigabytes(memory)} in all` : "nothing can be trained or written";
  return tile("Workers", number(living.length), under, null, silent > 0 || living.length === 0);
}

const gigabytes = (bytes) => `${number(bytes / 2 ** 30, 1)} GiB`;

/** Each worker of the site: what it does, its memory, its GPU. */
export function showWorkers(workers) {
  fill("workers", ...workers.map((one) => el("span", { class: `job${one.doing ? " running" : ""}${one.lives ? "" : " alarming"}`, title: one.name },
    el("strong", {}, one.queues.join(", ")), ` · ${one.lives ? one.doing?.replaceAll("_", " ") ?? "idle" : "silent"} · ${gigabytes(one.memory_bytes)}`,
    one.gpu ? ` · ${one.gpu}: ${gigabytes(one.gpu_used_bytes)} of ${gigabytes(one.gpu_total_bytes)}` : null)));
}

function waiting(summary) {
  if (summary.andon) return "people may go on labeling";
  if (summary.phase !== "running") return summary.note ?? "";
  return summary.waiting_for ? `waiting for ${summary.waiting_for}` : "training goes on";
}

function tile(name, value, under, meter = null, alarming = false) {
  return el("div", { class: alarming ? "tile alarming" : "tile" },
    el("h3", {}, name), el("p", { class: "tile-value" }, ...[value].flat()), meter, el("p", { class: "muted" }, under));
}

function bar(value, total, mark = null) {
  const percent = (part) => `${Math.min(100, (100 * part) / Math.max(1, total)).toFixed(1)}%`;
  return el("div", { class: "bar", role: "progressbar", "aria-valuenow": value, "aria-valuemin": 0, "aria-valuemax": total },
    el("span", { style: `width:${percent(value)}` }),
    mark === null ? null : el("i", { style: `left:${percent(mark)}`, title: `${number(mark)} required now` }));
}

function plural(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

export function showJobs(summary, now) {
  const since = (iso) => (now - Date.parse(iso)) / 1000;
  fill("jobs", ...summary.jobs.map((job) => {
    const silent = job.state === "running" && job.heartbeat_at && since(job.heartbeat_at) > SILENT_SECONDS;
    return el("span", { class: `job ${job.state}${silent ? " alarming" : ""}`, title: job.worker ?? "no worker yet" },
      el("strong", {}, job.kind.replaceAll("_", " ")), ` ${job.step + 1} · ${job.state} · ${age(since(job.created_at))}`,
      job.failures ? ` · failed ${job.failures}×` : null, silent ? ` · silent for ${age(since(job.heartbeat_at))}` : null);
  }));
  const retried = summary.jobs.filter((job) => job.failures && job.error);
  fill("failed",
    ...summary.failed.map((job) => failure(job, `failed after ${plural(job.failures, "attempt")}`, "Pause and resume the run to try again.")),
    ...retried.map((job) => failure(job, `failed ${job.failures}× and is tried again`, "It is given up after three attempts.")));
}

function failure(job, what, next) {
  return el("details", { class: "failure", "data-key": job.id },
    el("summary", {}, el("strong", {}, `${job.kind.replaceAll("_", " ")} ${job.step + 1}`), ` ${what}: ${lastLine(job.error)}`),
    el("pre", {}, job.error ?? "No error text was kept."),
    el("p", { class: "muted" }, next));
}

function lastLine(error) {
  return (error ?? "").trim().split("\n").at(-1) || "no error text";
}

/** Prompts as rows, policies as columns, newest first. */
export function showSamples({ policies, prompts }) {
  if (prompts.length === 0) {
    fill("samples", el("p", { class: "muted empty-note" }, "The reference writes its samples soon after the run starts; each promoted policy follows."));
    return;
  }
  const head = el("tr", {}, el("th", { scope: "col" }, "prompt"), ...policies.map((policy) => el("th", { scope: "col" }, checkpointName(policy))));
  const rows = prompts.map((prompt) => el("tr", {}, el("td", { class: "prompt" }, prompt.text),
    ...policies.map((policy) => sampleCell(prompt.samples[policy.id], policy))));
  fill("samples", el("table", { class: "samples" }, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function sampleCell(sample, policy) {
  const kind = policy.kind === "reference" ? "sample from-reference" : "sample";
  if (!sample) return el("td", { class: kind }, el("span", { class: "muted" }, "–"));
  return el("td", { class: kind }, sample.text.trim(), sample.valid ? null : el("span", { class: "muted", title: "no terminator in time" }, " (cut off)"));
}

export function showCheckpoints(checkpoints) {
  const columns = ["checkpoint", "made", "from", "reward model", "labels", "episodes", "KL, nats", "KL coefficient", "held out, %", "digest", ""];
  const head = el("tr", {}, ...columns.map((name, index) => el("th", { scope: "col", class: index > 3 && index < 9 ? "figure" : null }, name)));
  fill("checkpoints", el("table", { class: "checkpoints" }, el("thead", {}, head), el("tbody", {}, ...checkpoints.map(checkpointRow))));
}

function checkpointRow(checkpoint) {
  const figure = (text) => el("td", { class: "figure" }, text);
  const parent = checkpoint.parent_kind ? checkpointName({ kind: checkpoint.parent_kind, number: checkpoint.parent_number }) : "–";
  const policy = checkpoint.kind === "policy";
  const held = checkpoint.report.accuracy_heldout?.value ?? null;
  return el("tr", {},
    el("th", { scope: "row" }, checkpoint.kind === "reference" ? "reference" : `${KINDS[checkpoint.kind]} ${checkpoint.number}`,
      checkpoint.standing && checkpoint.standing !== "approved" ? el("span", { class: "role" }, checkpoint.standing.replace("_", " ")) : null,
      ...checkpoint.roles.filter((role) => role !== KINDS[checkpoint.kind]).map((role) => el("span", { class: "role" }, role))),
    el("td", {}, clock(checkpoint.created_at)),
    el("td", {}, parent),
    el("td", {}, checkpoint.reward_model_number === null ? "–" : String(checkpoint.reward_model_number)),
    figure(number(checkpoint.labels)),
    figure(policy ? number(checkpoint.episodes) : "–"),
    figure(policy ? number(checkpoint.kl, 2) : "–"),
    figure(policy ? number(checkpoint.kl_coef, 3) : "–"),
    figure(held === null ? "–" : number(held * 100)),
    el("td", {}, el("a", { href: `/checkpoints/${checkpoint.id}` }, el("code", {}, checkpoint.digest.slice(0, 10)))),
    el("td", {}, (policy || checkpoint.kind === "reference") && !checkpoint.roles.includes("training") ? el("button", { type: "button", class: "quiet back", "data-back": checkpoint.id, title: "Let PPO go on from this policy" }, "go back to it") : null));
}
