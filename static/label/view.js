// What is on the screen. Decides nothing.

const LEAD_WORDS = 5;

const DIM = "prefloop.dim";

const grouped = new Intl.NumberFormat("en");

const byId = (id) => document.getElementById(id);
const desk = byId("desk");
const cards = [...document.querySelectorAll(".card")];

export function showComparison(lease) {
  byId("empty").hidden = true;
  desk.classList.remove("waiting");
  byId("cards").inert = false;
  byId("prompt").textContent = lease.prompt;
  byId("prompt-box").scrollTop = 0;
  const lead = desk.dataset.lead ? leadOf(lease.prompt) : "";
  const texts = lease.samples.map(({ text }) => (desk.dataset.lead ? text : text.trim()));
  const same = commonStart(texts);
  cards.forEach((card, place) => {
    card.querySelector(".lead").textContent = lead;
    const start = Object.assign(document.createElement("span"), { className: "same", textContent: texts[place].slice(0, same) });
    card.querySelector(".sample").replaceChildren(start, texts[place].slice(same));
  });
  setTools(true);
  scrollTo({ top: 0, behavior: "instant" }); // on a phone the last answer may have been far down
}

// An answer that is being changed: the sample chosen then is marked. Null: a new comparison.
export function showEarlier(lease, earlier) {
  byId("changing").hidden = earlier === null;
  byId("flag").disabled = earlier !== null;
  cards.forEach((card, place) => {
    const chosen = earlier !== null && lease.samples[place].id === earlier.choice;
    card.classList.toggle("earlier", chosen);
    card.querySelector(".before")?.remove();
    if (chosen) {
      const mark = { className: "before", textContent: "your answer" };
      card.querySelector(".words").append(Object.assign(document.createElement("b"), mark));
    }
  });
  for (const button of document.querySelectorAll("[data-answer]")) {
    if (earlier === null) button.removeAttribute("aria-pressed");
    else button.setAttribute("aria-pressed", String(earlier.verdict === button.dataset.answer));
  }
}

export function showEmpty(reason) {
  byId("changing").hidden = true;
  desk.classList.add("waiting");
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
  byId("team").textContent = `${grouped.format(team)} of ${grouped.format(goal)}`;
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

// For everybody, until the next answer; `why` puts a button beside it that asks for a reason.
export function notice(words, why) {
  const parts = [words];
  if (why !== undefined) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", onclick: why });
    button.append(Object.assign(document.createElement("kbd"), { textContent: "W" }), " Say why");
    parts.push(" ", button);
  }
  byId("notice").replaceChildren(...parts);
}

export function showOutdated(is) {
  byId("outdated").hidden = !is;
}

export function toggleDim() {
  dim(!desk.classList.contains("dimmed"));
  notice(desk.classList.contains("dimmed") ? "What all the texts begin with is dimmed." : "Nothing is dimmed.");
}

function dim(is) {
  desk.classList.toggle("dimmed", is);
  byId("dim").checked = is;
  localStorage.setItem(DIM, is ? "yes" : "");
}

byId("dim").addEventListener("change", () => dim(byId("dim").checked));
dim(localStorage.getItem(DIM) === "yes");

function setTools(usable) {
  for (const button of document.querySelectorAll("[data-answer], #flag, #scale button")) button.disabled = !usable;
}

// Characters that all texts begin with, up to the last whole word.
function commonStart(texts) {
  let length = 0;
  while (length < texts[0].length && texts.every((text) => text[length] === texts[0][length])) length += 1;
  if (texts.every((text) => text.length === length || /\s/.test(text[length]))) return length;
  return texts[0].slice(0, length).search(/\S+$/) === -1 ? length : texts[0].slice(0, length).search(/\S*$/);
}

// The prompt's last words, so that each sample reads as its continuation.
function leadOf(prompt) {
  const words = prompt.trimEnd().split(/\s+/);
  const tail = words.slice(-LEAD_WORDS).join(" ");
  return words.length > LEAD_WORDS ? `… ${tail}` : tail;
}
