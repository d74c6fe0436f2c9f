// The page of a run: follows the status, fetches what moved, hands it to the parts.

import { problem, showActions, wireActions } from "./dashboard/actions.js";
import { Charts } from "./dashboard/curves.js";
import { show } from "./dashboard/dom.js";
import { follow } from "./dashboard/live.js";
import { showCheckpoints, showJobs, showSamples, showTiles, showWorkers } from "./dashboard/tables.js";

const CURVES_EVERY_MS = 2000;
const WHOLE_EVERY_MS = 300000; // points that a redone step changed are seen then
const LONGEST = 2000;
const LIVE = new Set(["labels/required", "labels/per_minute", "queue/ready"]); // these grow by the status itself

const board = document.getElementById("board");
const runId = board.dataset.run;
let charts = null;
let latest = null;
let clockSkew = 0;
let boardVersion = "";
let wholeAt = 0;
let fetching = false;
let pending = false;

const serverNow = () => Date.now() + clockSkew;

async function getJson(path) {
  const answer = await fetch(`/runs/${runId}/${path}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return answer.json();
}

function onStatus({ now, status }) {
  clockSkew = Date.parse(now) - Date.now();
  latest = status;
  if (charts === null) startCharts(status.summary);
  addLivePoints(status.summary);
  showStatus();
  update();
}

function startCharts(summary) {
  const target = board.dataset.klTarget;
  charts = new Charts(document.getElementById("charts"), {
    run: runId, klTarget: target === "" ? null : Number(target), summary: board.dataset.summary === "true", start: Date.parse(summary.created_at), now: serverNow(),
  });
  for (const choice of document.querySelectorAll("input[name=axis]")) {
    choice.addEventListener("change", () => charts.setAxis(choice.value));
    if (choice.checked) charts.setAxis(choice.value);
  }
}

/** Labels and queue move every second: their curves grow by what the status says, history comes with the next fetch. */
function addLivePoints(summary) {
  if (wholeAt === 0) return;
  const at = serverNow();
  const seconds = Math.round((at - Date.parse(summary.created_at)) / 1000);
  charts.append("labels/usable", seconds, at, summary.labels_usable);
  if (summary.labels_required) charts.append("labels/required", seconds, at, summary.labels_required);
  charts.append("queue/ready", seconds, at, summary.ready);
  charts.append("labels/per_minute", seconds, at, summary.labels_per_minute);
}

function showStatus() {
  const { summary } = latest;
  const now = serverNow();
  const phase = document.getElementById("phase");
  phase.dataset.phase = summary.andon ? "andon" : summary.phase;
  phase.textContent = summary.andon ? "line stopped" : summary.phase;
  showTiles(summary, now, charts.lastPoint("reward/accuracy_incoming"), latest.workers);
  showWorkers(latest.workers);
  showJobs(summary, now);
  showActions(summary);
  show("andon", summary.andon !== null);
  if (summary.andon) {
    const by = summary.andon.pulled_by ?? "Prefloop";
    document.getElementById("andon-text").textContent = `${by}: “${summary.andon.reason}”`;
  }
  show("note", Boolean(summary.note) && summary.phase !== "running");
  document.getElementById("note").textContent = summary.note ?? "";
}

/** Fetch the curves and tables that moved; what moves meanwhile comes with the next round. */
async function update() {
  pending = fetching;
  if (fetching) return;
  fetching = true;
  try {
    await updateBoard();
    await updateCurves();
    showStatus();
  } catch (error) {
    pending = true;
    console.warn("update failed, will be tried again", error);
  } finally {
    setTimeout(() => {
      fetching = false;
      if (pending) update();
    }, CURVES_EVERY_MS);
  }
}

async function updateBoard() {
  const { newest_checkpoint: checkpoint, newest_showcase: showcase, summary } = latest;
  const { serving, candidate } = summary.checkpoints;
  const version = JSON.stringify([checkpoint, showcase, serving?.id, candidate?.id, summary.promotions]);
  if (version === boardVersion) return;
  const tables = await getJson("board.json");
  boardVersion = version;
  charts.setEvents(tables.events);
  charts.setPolicies(tables.checkpoints);
  showSamples(tables.showcase);
  showCheckpoints(tables.checkpoints);
}

async function updateCurves() {
  const names = Object.keys(latest.last_steps);
  const long = names.some((name) => charts.length(name) > LONGEST);
  if (Date.now() - wholeAt > WHOLE_EVERY_MS || long) {
    charts.replace((await getJson("curves.json")).curves);
    wholeAt = Date.now();
    addLivePoints(latest.summary);
    return;
  }
  const moved = names.filter((name) => !LIVE.has(name) && latest.last_steps[name] > (charts.lastStep(name) ?? -1));
  if (moved.length === 0) return;
  const query = new URLSearchParams(moved.flatMap((name) => [["name", name], ["after", charts.lastStep(name) ?? -1]]));
  charts.extend((await getJson(`curves.json?${query}`)).curves);
}

function onState(state) {
  const place = document.getElementById("link-state");
  place.dataset.state = state;
  place.textContent = state;
}

const look = follow(runId, onStatus, onState);
wireActions(runId, () => {
  problem("");
  look();
});
setInterval(() => latest && !document.hidden && showStatus(), 1000); // ages grow although nothing happens
document.addEventListener("visibilitychange", () => !document.hidden && latest && update());
