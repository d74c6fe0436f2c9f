// What a run may ask besides the choice: a strength, an interpretation before the prompt is read, questions afterwards.

import * as dialogs from "./dialogs.js";

const { questions, strength } = document.getElementById("desk").dataset;
const asked = questions === "" ? [] : questions.split(" ");
const naive = document.getElementById("naive");
const prompt = document.getElementById("prompt");
const middle = document.querySelectorAll("#scale button").length / 2 + 0.5;
let interpretation = "";

// Point 1 is the first sample by far, the middle a tie, the last the second sample by far.
export function pointOf(number) {
  const away = number - middle;
  return { place: away === 0 ? null : Number(away > 0), much: Math.abs(away) };
}

// A comparison comes on the screen; `earlier` is what was said of it, if it is changed.
export function begin(earlier) {
  interpretation = earlier?.answers?.naive ?? "";
  markPoint(earlier);
  if (naive === null) return;
  naive.hidden = earlier !== null;
  prompt.hidden = !naive.hidden;
  naive.querySelector("textarea").value = "";
  if (!naive.hidden) naive.querySelector("textarea").focus({ preventScroll: true });
}

// Whether the prompt waits for an interpretation.
export const covered = () => naive !== null && !naive.hidden;

// done(answers) follows, at once where nothing is asked, never if the person goes back.
export function ask(verdict, done) {
  const before = interpretation ? { naive: interpretation } : {};
  const rest = asked.filter((question) => question !== "naive");
  if (rest.length === 0 || verdict === "skip") return done(before);
  return dialogs.about(verdict === "best", (answers) => done({ ...before, ...answers }));
}

function markPoint(earlier) {
  if (!strength) return;
  for (const button of document.querySelectorAll("#scale button")) button.removeAttribute("aria-current");
  if (earlier === null || (earlier.verdict !== "tie" && !earlier.strength)) return;
  const side = earlier.place === 0 ? -1 : 1;
  const point = earlier.verdict === "tie" ? middle : middle + side * earlier.strength;
  document.querySelector(`#scale [data-point="${point}"]`)?.setAttribute("aria-current", "true");
}

if (naive !== null) {
  naive.addEventListener("submit", (event) => {
    event.preventDefault();
    interpretation = naive.querySelector("textarea").value.trim();
    naive.hidden = true;
    prompt.hidden = false;
    document.getElementById("prompt-box").focus({ preventScroll: true });
  });
  dialogs.enterSubmits(naive);
}
