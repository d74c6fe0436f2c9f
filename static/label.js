// The labeling page: keys and clicks in, answers out. Keeps the next comparisons at hand, so that an answer brings the
// next question within a frame, whatever the network does.

import { call } from "./label/api.js";
import * as dialogs from "./label/dialogs.js";
import { Outbox } from "./label/outbox.js";
import { Queue } from "./label/queue.js";
import * as view from "./label/view.js";

const DOUBLE_PRESS_MS = 250;
const HISTORY = 10;
const COUNTED = new Set(["best", "tie", "none"]);

const { run, account, prefetch } = document.getElementById("desk").dataset;
const historyName = `prefloop.history.${account}.${run}`;
const history = JSON.parse(sessionStorage.getItem(historyName) ?? "[]"); // can be taken back: {lease, key, verdict, label?}
const channel = new BroadcastChannel(`prefloop.${account}`); // other tabs of the same person
let progress = null; // as the server said, plus what it has confirmed since
let shown = null; // the lease on the screen
let shownAt = 0;

const outbox = new Outbox(account, { state: saving, settled, refused });
const queue = new Queue({
  run,
  prefetch: Number(prefetch),
  pending: () => new Set(outbox.values().filter((entry) => entry.kind !== "undo").map((entry) => entry.comparison)),
  events: { changed: show, progress: gotProgress, unreachable },
});

function show() {
  const next = queue.current;
  if (next === undefined) {
    shown = null;
    view.showEmpty(progress?.waiting_for ?? "Looking for the next comparison.");
  } else if (next !== shown) {
    shown = next;
    shownAt = performance.now();
    view.showComparison(next);
  }
  historyChanged();
}

function gotProgress(latest) {
  progress = latest;
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

function worth(entry) {
  if (!COUNTED.has(entry.verdict)) return 0;
  return entry.kind === "undo" ? -1 : 1;
}

function unreachable(detail) {
  if (shown === null) view.showEmpty(`${detail}. Your answers are safe in this browser.`);
}

const tooSoon = () => shown === null || performance.now() - shownAt < DOUBLE_PRESS_MS;

function answer(verdict, place = null) {
  if (tooSoon()) return;
  const lease = shown;
  const key = newKey();
  const choice = place === null ? null : lease.samples[place].id;
  const milliseconds = Math.round(performance.now() - shownAt);
  remember({ lease, key, verdict });
  outbox.add({ kind: "label", key, verdict, comparison: lease.comparison, body: { verdict, choice, milliseconds } });
  if (place !== null) view.flash(place);
  view.notice("");
  view.announce(place === null ? `${verdict}. Next comparison.` : `${place + 1} chosen. Next comparison.`);
  leave(lease);
}

function flag() {
  if (tooSoon()) return;
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
  const last = history.pop();
  if (last === undefined) return;
  if (!outbox.cancel(last.key)) {
    const { key: of, label, verdict, lease } = last;
    outbox.add({ kind: "undo", key: newKey(), of, label, verdict, comparison: lease.comparison });
  }
  view.notice("Taken back: answer it again.");
  view.announce("The last answer is taken back.");
  queue.putBack(last.lease);
}

function remember(item) {
  history.push(item);
  if (history.length > HISTORY) history.shift();
}

function historyChanged() {
  sessionStorage.setItem(historyName, JSON.stringify(history));
  view.showUndo(history.length);
}

function settled(entry, reply) {
  const item = history.find(({ key }) => key === entry.key);
  if (item !== undefined) item.label = reply.label;
  historyChanged();
  if (progress === null) return;
  progress = { ...progress, mine: progress.mine + worth(entry), mine_today: progress.mine_today + worth(entry) };
}

function refused(entry, detail) {
  view.notice(detail);
  const place = history.findIndex(({ key }) => key === entry.key);
  if (place >= 0) history.splice(place, 1);
  if (entry.kind === "undo") queue.finish(entry.comparison);
  historyChanged();
}

async function pull(reason) {
  await call("POST", `/runs/${run}/andon`, { body: { reason } });
  view.notice("The line is stopped. Thank you: a researcher will look.");
  gotProgress({ ...progress, cord: reason });
}

const newKey = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID needs HTTPS, a lab's intranet may lack it
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

const actions = {
  t: () => answer("tie"),
  n: () => answer("none"),
  s: () => answer("skip"),
  z: undo,
  backspace: undo,
  f: flag,
  h: dialogs.help,
  "?": dialogs.help,
  a: () => dialogs.stopTheLine(pull),
};

function pressed(event) {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || typing || dialogs.isOpen()) return;
  const digit = /^(?:Digit|Numpad)([1-4])$/.exec(event.code); // by place: on some keyboards digits need Shift
  const action = digit ? () => answer("best", Number(digit[1]) - 1) : actions[event.key.toLowerCase()];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

document.addEventListener("keydown", pressed);
document.getElementById("cards").addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card !== null) answer("best", Number(card.dataset.place));
});
document.querySelector(".tools").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const key = button?.getAttribute("aria-keyshortcuts").split(" ")[0].toLowerCase();
  if (key !== undefined) actions[key]();
});
channel.onmessage = ({ data }) => queue.finish(data);

outbox.start();
queue.fill();
