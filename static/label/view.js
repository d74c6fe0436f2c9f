// What is on the screen. Decides nothing.

const LEAD_WORDS = 5;

const byId = (id) => document.getElementById(id);
const cards = [...document.querySelectorAll(".card")];

export function showComparison(lease) {
  byId("empty").hidden = true;
  byId("cards").classList.remove("waiting");
  byId("cards").inert = false;
  byId("prompt").textContent = lease.prompt;
  const lead = leadOf(lease.prompt);
  cards.forEach((card, place) => {
    card.querySelector(".lead").textContent = lead;
    card.querySelector(".sample").textContent = lease.samples[place].text;
  });
  setTools(true);
  scrollTo({ top: 0, behavior: "instant" }); // on a phone the last answer may have been far down
}

export function showEmpty(reason) {
  byId("cards").classList.add("waiting");
  byId("cards").inert = true;
  byId("prompt").textContent = "";
  byId("empty-reason").textContent = reason;
  byId("empty").hidden = false;
  setTools(false);
}

export function flash(place) {
  const card = cards[place];
  card.classList.remove("chosen");
  void card.offsetWidth; // restarts the animation when the same card is chosen twice in a row
  card.classList.add("chosen");
}

export function showSaving(state, waiting, detail) {
  const words = { saved: "saved", saving: "saving", retrying: `retrying (${waiting} waiting)` }[state];
  if (byId("save").dataset.state !== state && state === "retrying") announce(`${detail}. ${words}.`);
  if (byId("save").dataset.state === "retrying" && state === "saved") announce("All answers are saved.");
  byId("save").dataset.state = state;
  byId("save").title = detail;
  byId("save-text").textContent = words;
}

export function showProgress({ mine, mine_today: today, team, goal, cord }) {
  byId("mine").textContent = mine;
  byId("mine-today").textContent = today;
  byId("bar").max = goal;
  byId("bar").value = Math.min(team, goal);
  byId("team").textContent = `${team} of ${goal}`;
  byId("cord").hidden = cord === null;
  byId("cord-reason").textContent = cord ?? "";
}

export function showUndo(steps) {
  byId("undo").disabled = steps === 0;
  byId("undo-count").textContent = steps || "";
}

// For screen readers.
export function announce(words) {
  byId("live").textContent = words;
}

// For everybody, until the next answer.
export function notice(words) {
  byId("notice").textContent = words;
}

function setTools(usable) {
  for (const button of document.querySelectorAll("[data-answer], #flag")) button.disabled = !usable;
}

// The prompt's last words, so that each sample reads as its continuation.
function leadOf(prompt) {
  const words = prompt.trimEnd().split(/\s+/);
  const tail = words.slice(-LEAD_WORDS).join(" ");
  return words.length > LEAD_WORDS ? `… ${tail}` : tail;
}
