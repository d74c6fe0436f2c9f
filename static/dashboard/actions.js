// Buttons: ask, call the API, say what went wrong.

import { show } from "./dom.js";

const QUESTIONS = {
  pause: { title: "Pause this run?", text: "Training stops after the current update. People may go on labeling what is ready.", label: "Note (optional)", yes: "Pause" },
  stop: { title: "Stop this run for good?", text: "It cannot be resumed. Labels and checkpoints are kept.", label: "Note (optional)", yes: "Stop" },
  finish: { title: "Finish this run?", text: "It ends as one that has done enough: nothing more is trained, and people may label what is out.", label: "Note (optional)", yes: "Finish" },
  rollback: { title: "Go back to this policy?", text: "PPO goes on from it with a fresh optimizer; the update in hand is dropped. An approved policy serves again.", label: "Why? (kept in the audit log)", yes: "Roll back", needed: true },
  pull: { title: "Pull the andon cord?", text: "Policy training and promotion stop within one update; the policy that serves goes on serving. Only a researcher can release it.", label: "What is wrong?", yes: "Pull the cord", needed: true },
  release: { title: "Release the cord?", text: "Policy training and promotion go on.", label: "What was found (kept in the audit log)", yes: "Release", needed: true },
};

export function wireActions(runId, changed) {
  const base = `/api/v1/runs/${runId}`;
  const on = (id, act) => document.getElementById(id).addEventListener("click", () => guarded(act, changed));
  on("resume", () => call("POST", `${base}/resume`, {}));
  on("pause", () => asked("pause", (note) => call("POST", `${base}/pause`, { note })));
  on("stop", () => asked("stop", (note) => call("POST", `${base}/stop`, { note })));
  on("finish", () => asked("finish", (note) => call("POST", `${base}/finish`, { note })));
  document.getElementById("checkpoints").addEventListener("click", (event) => {
    const checkpoint = event.target.closest("button[data-back]")?.dataset.back;
    if (checkpoint) guarded(() => asked("rollback", (note) => call("POST", `${base}/rollback`, { checkpoint, note })), changed);
  });
  on("pull", () => asked("pull", (reason) => call("POST", `${base}/andon`, { reason })));
  on("release", () => asked("release", (note) => call("DELETE", `${base}/andon`, { note })));
}

export function showActions(summary) {
  const { phase } = summary;
  show("pause", phase === "running");
  show("resume", phase === "paused");
  show("finish", phase === "running" || phase === "paused");
  document.getElementById("checkpoints").classList.toggle("over", phase !== "running" && phase !== "paused");
  show("stop", phase === "running" || phase === "paused");
  show("pull", !summary.andon && (phase === "running" || phase === "paused"));
}

async function guarded(act, changed) {
  try {
    if ((await act()) !== false) changed();
    problem("");
  } catch (error) {
    problem(error.message);
  }
}

export function problem(text) {
  const place = document.getElementById("problem");
  place.textContent = text;
  place.hidden = text === "";
}

async function call(method, url, body) {
  const answer = await fetch(url, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (answer.ok) return;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.detail ?? `The server answered ${answer.status}.`);
}

/** Ask first; false if the answer is no. */
async function asked(name, act) {
  const words = await ask(QUESTIONS[name]);
  return words === null ? false : act(words);
}

function ask({ title, text, label, yes, needed = false }) {
  const dialog = document.getElementById("ask");
  const field = document.getElementById("ask-words");
  const put = (id, value) => { document.getElementById(id).textContent = value; };
  put("ask-title", title);
  put("ask-text", text);
  put("ask-label", label);
  put("ask-yes", yes);
  field.value = "";
  field.required = needed;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? field.value.trim() : null), { once: true });
  });
}
