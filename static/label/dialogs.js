// Dialogs that ask before something is done. Escape and Cancel close them without consequence.

const byId = (id) => document.getElementById(id);

export const isOpen = () => document.querySelector("dialog:modal") !== null;

export function help() {
  byId("help-dialog").showModal();
}

// done(reason)
export const flag = (done) => ask(byId("flag-dialog"), (form) => done(reasonOf(form)));

// done(reason): why something was skipped
export const why = (done) => ask(byId("skip-dialog"), (form) => done(reasonOf(form)));

// done(answers): question to rating or words, without those left empty
export function about(isChoice, done) {
  const dialog = byId("ask-dialog");
  for (const axis of dialog.querySelectorAll("[data-of-choice]")) axis.disabled = axis.hidden = !isChoice;
  ask(dialog, (form) => {
    const said = [...form].filter(([, words]) => words.trim() !== "");
    const ratings = new Set([...dialog.querySelectorAll("[data-of-choice] input")].map((input) => input.name));
    done(Object.fromEntries(said.map(([name, words]) => [name, ratings.has(name) ? Number(words) : words.trim()])));
  });
}

// chosen(item): the answer that a person wants to look at again
export function last(items, chosen) {
  const dialog = byId("last-dialog");
  byId("last-none").hidden = items.length > 0;
  byId("last-list").replaceChildren(...items.map((item) => entryOf(item, () => {
    dialog.close();
    chosen(item);
  })));
  dialog.showModal();
  dialog.querySelector("#last-list button")?.focus();
}

const SAID = { tie: "Tie", none: "None good", skip: "Skipped" };
const STRENGTHS = ["", "barely better", "somewhat better", "clearly better", "far better"];

function entryOf({ lease, said }, look) {
  const chosen = lease.samples.find(({ id }) => id === said.choice);
  const part = (tag, words, name) => Object.assign(document.createElement(tag), { textContent: words, className: name });
  const button = Object.assign(part("button", "Change", ""), { type: "button", onclick: look });
  const text = chosen === undefined ? SAID[said.verdict] : chosen.text.trim();
  const much = said.strength ? ` (${STRENGTHS[said.strength] ?? said.strength})` : "";
  const row = document.createElement("li");
  const words = document.createElement("div");
  words.append(part("p", tailOf(lease.prompt), "muted"), part("p", `${text}${much}`, "said"));
  button.setAttribute("aria-label", `Change the answer: ${text.slice(0, 60)}`);
  row.append(words, button);
  return row;
}

const tailOf = (prompt) => (prompt.length > 90 ? `… ${prompt.slice(-90).replace(/^\S*\s/, "")}` : prompt);

function reasonOf(form) {
  const note = form.get("note").trim();
  return note ? `${form.get("reason")}: ${note}` : form.get("reason");
}

// pull(reason) -> promise; a failure is shown in the dialog, which opens again with what was typed
export function stopTheLine(pull, kept = "") {
  const dialog = byId("pull-dialog");
  if (!kept) byId("pull-problem").textContent = "";
  ask(dialog, async (form) => {
    const reason = form.get("reason").trim();
    if (!reason) return;
    try {
      await pull(reason);
    } catch (error) {
      stopTheLine(pull, reason);
      byId("pull-problem").textContent = `${error.message}. Try again.`;
    }
  });
  dialog.querySelector("textarea").value = kept;
}

// Enter in a text of several lines sends the form, Shift and Enter makes a line.
export function enterSubmits(form) {
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("textarea")) return;
    event.preventDefault();
    form.requestSubmit(form.querySelector(".primary, [value=yes]"));
  });
}

for (const form of document.querySelectorAll("#ask-dialog form")) enterSubmits(form);

for (const button of document.querySelectorAll("[data-cancel]")) { // no submit button: Enter must not mean Cancel
  button.addEventListener("click", () => button.closest("dialog").close(""));
}

function ask(dialog, answered) {
  const form = dialog.querySelector("form");
  form.reset();
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue === "yes") answered(new FormData(form));
  };
  dialog.showModal();
}
