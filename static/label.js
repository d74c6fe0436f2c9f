// The labeling page: keys and clicks in, answers out. Keeps the next comparisons at hand, so that an answer brings the
// next question within a frame, whatever the network does.

import { call } from "./label/api.js";
import * as dialogs from "./label/dialogs.js";
import * as extras from "./label/extras.js";
import * as guide from "./label/guide.js";
import { History } from "./label/history.js";
import { Outbox } from "./label/outbox.js";
import { Queue } from "./label/queue.js";
import * as view from "./label/view.js";

const DOUBLE_PRESS_MS = 250;
const GUIDELINE_MS = 120_000;
const STALE_MS = 4_000; // somebody who thinks for long still sees within so many that the cord was pulled
const COUNTED = new Set(["best", "tie", "none"]);

const { run, place, account, prefetch, samples, strength, guideline } = document.getElementById("desk").dataset;
const choices = Number(samples);
const history = new History(account, run, view.showUndo);
const channel = new BroadcastChannel(`prefloop.${account}`); // other tabs of the same person
let heardAt = 0; // when the server last said how things stand
let progress = null; // as the server said, plus what it has confirmed since
let shown = null; // the lease on the screen
let shownAt = 0;
let changing = null; // the earlier answer on the screen, while one is changed

const outbox = new Outbox(account, { state: saving, settled, refused });
const queue = new Queue({
  place,
  prefetch: Number(prefetch),
  pending: () => new Set(outbox.values().filter((entry) => entry.kind !== "undo").map((entry) => entry.comparison)),
  events: { changed: show, progress: gotProgress, unreachable },
});

function show() {
  if (changing !== null) return;
  const next = queue.current;
  if (next === undefined) {
    shown = null;
    view.showEmpty(progress?.waiting_for ?? "Looking for the next comparison.");
  } else if (next !== shown) {
    put(next);
  }
}

function put(lease, earlier = null) {
  shown = lease;
  shownAt = performance.now();
  view.showComparison(lease);
  view.showEarlier(lease, earlier);
  extras.begin(earlier === null ? null : { ...earlier, place: lease.samples.findIndex(({ id }) => id === earlier.choice) });
}

function gotProgress(latest) {
  progress = latest;
  heardAt = Date.now();
  showProgress();
  if (shown === null) show();
}

function saving(...state) {
  view.showSaving(...state);
  showProgress();
}

// What waits in the outbox is done already for the person who did it.
function showProgress() {
  if (progress === null) return;
  const waiting = outbox.values().reduce((sum, entry) => sum + worth(entry), 0);
  view.showProgress({ ...progress, mine: progress.mine + waiting, mine_today: progress.mine_today + waiting });
}

const counted = (verdict) => (COUNTED.has(verdict) ? 1 : 0);

function worth({ kind, verdict, before }) {
  if (kind === "undo") return -counted(verdict);
  return counted(verdict) - counted(before);
}

function unreachable(detail) {
  if (shown === null) view.showEmpty(`${detail}. Your answers are safe in this browser.`);
}

const tooSoon = () => shown === null || performance.now() - shownAt < DOUBLE_PRESS_MS || extras.covered();

function answer(verdict, place = null, much = null) {
  if (tooSoon()) return;
  const lease = shown;
  const said = { verdict, choice: place === null ? null : lease.samples[place].id };
  if (much !== null) said.strength = much;
  said.milliseconds = Math.round(performance.now() - shownAt);
  extras.ask(verdict, (answers) => {
    if (Object.keys(answers).length > 0) said.answers = answers;
    if (place !== null) view.flash(place);
    view.announce(place === null ? `${verdict}. Next comparison.` : `${place + 1} chosen. Next comparison.`);
    view.notice(verdict === "skip" ? "Skipped." : "", verdict === "skip" ? sayWhy : undefined);
    if (changing === null) give(lease, said);
    else change(lease, said);
  });
}

function give(lease, said) {
  const key = newKey();
  history.add({ lease, key, said });
  outbox.add({ kind: "label", key, verdict: said.verdict, comparison: lease.comparison, body: said });
  leave(lease);
}

function change(lease, said) {
  revise(changing, said);
  view.notice("Changed.");
  leaveChange();
}

function revise(item, said) {
  const { key: of, label, lease } = item;
  const key = newKey();
  const before = item.said.verdict;
  outbox.add({ kind: "revise", key, of, label, before, verdict: said.verdict, comparison: lease.comparison, body: said });
  history.revise(item, key, said);
}

// Takes an earlier answer to the screen; what waited there comes back afterwards.
function look(item) {
  changing = item;
  view.notice("");
  put(item.lease, item.said);
}

function leaveChange() {
  if (changing === null) return;
  changing = null;
  shown = null;
  show();
}

function sayWhy() {
  const item = history.newest;
  if (item?.said.verdict !== "skip") return;
  dialogs.why((reason) => {
    revise(item, { ...item.said, reason });
    view.notice("Skipped, with your reason.");
  });
}

function flag() {
  if (tooSoon() || changing !== null) return;
  const lease = shown;
  dialogs.flag((reason) => {
    outbox.add({ kind: "flag", key: newKey(), comparison: lease.comparison, body: { reason } });
    view.notice("Flagged. A researcher will look at it.");
    leave(lease);
  });
}

function leave(lease) {
  channel.postMessage(lease.comparison);
  queue.finish(lease.comparison);
}

function undo() {
  if (changing !== null) return leaveChange();
  const last = history.pop();
  if (last === undefined) return undefined;
  if (last.revised || !outbox.cancel(last.key)) {
    const { key: of, label, said, lease } = last;
    outbox.add({ kind: "undo", key: newKey(), of, label, verdict: said.verdict, comparison: lease.comparison });
  }
  view.notice("Taken back: answer it again.");
  view.announce("The last answer is taken back.");
  queue.putBack(last.lease);
  return undefined;
}

function settled(entry, reply) {
  history.named(entry.key, reply?.label);
  if (progress === null) return;
  progress = { ...progress, mine: progress.mine + worth(entry), mine_today: progress.mine_today + worth(entry) };
}

function refused(entry, detail) {
  view.notice(detail);
  if (entry.kind === "label") history.drop(entry.key);
  if (entry.kind === "undo") queue.finish(entry.comparison);
}

async function pull(reason) {
  await call("POST", `/runs/${run}/andon`, { body: { reason } });
  view.notice("The line is stopped. Thank you: a researcher will look.");
  gotProgress({ ...progress, cord: reason });
}

async function lookAround() {
  if (document.hidden || Date.now() - heardAt < STALE_MS) return;
  try {
    gotProgress(await call("GET", `${place}/progress`));
  } catch {
    // Whoever answers next hears of it.
  }
}

async function lookForGuideline() {
  if (document.hidden || guideline === "") return;
  try {
    const { version } = await call("GET", `/runs/${run}/guideline`);
    view.showOutdated(String(version) !== guideline);
  } catch {
    // The next look will tell.
  }
}

const newKey = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID needs HTTPS, a lab's intranet may lack it
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

const actions = {
  t: () => answer("tie"),
  n: () => answer("none"),
  s: () => answer("skip"),
  w: sayWhy,
  z: undo,
  backspace: undo,
  escape: leaveChange,
  l: () => dialogs.last(history.newestFirst(), look),
  f: flag,
  d: view.toggleDim,
  g: guide.toggle,
  h: dialogs.help,
  "?": dialogs.help,
  a: () => dialogs.stopTheLine(pull),
};

// With strength the digits are a scale from the first sample to the second, else they name a sample.
function digit(number) {
  if (!strength) return number <= choices ? () => answer("best", number - 1) : undefined;
  const { place, much } = extras.pointOf(number);
  return place === null ? () => answer("tie") : () => answer("best", place, much);
}

function pressed(event) {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || typing || dialogs.isOpen()) return;
  const number = /^(?:Digit|Numpad)([1-9])$/.exec(event.code); // by place: on some keyboards digits need Shift
  const action = number ? digit(Number(number[1])) : actions[event.key.toLowerCase()];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

document.addEventListener("keydown", pressed);
document.getElementById("cards").addEventListener("click", (event) => {
  const card = event.target.closest("button.card");
  if (card !== null) answer("best", Number(card.dataset.place));
});
document.getElementById("scale")?.addEventListener("click", (event) => {
  const point = event.target.closest("button")?.dataset.point;
  if (point !== undefined) digit(Number(point))();
});
document.querySelector(".tools").addEventListener("click", (event) => {
  const key = event.target.closest("button")?.getAttribute("aria-keyshortcuts").split(" ")[0].toLowerCase();
  if (key !== undefined) actions[key]();
});
document.getElementById("leave-change").addEventListener("click", leaveChange);
channel.onmessage = ({ data }) => queue.finish(data);

history.load(() => outbox.size === 0);
outbox.start();
queue.fill();
setInterval(lookAround, STALE_MS / 4);
setInterval(lookForGuideline, GUIDELINE_MS);
