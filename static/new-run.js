// The form of a new run: asks the server what is wrong with the settings as they stand, and says so at the field.

const form = document.getElementById("settings");
const WAIT_MS = 300;
let timer = null;
let asked = 0;

function mark() {
  for (const field of form.querySelectorAll("[data-was]")) {
    field.closest(".field").classList.toggle("changed", field.value.trim() !== field.dataset.was.trim());
  }
}

async function check() {
  const mine = ++asked;
  const answer = await fetch("/runs/check", { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (!answer.ok || mine !== asked) return;
  const faults = await answer.json();
  for (const place of form.querySelectorAll("[data-fault]")) {
    const what = faults[place.dataset.fault] ?? "";
    place.textContent = what;
    place.hidden = what === "" || place.dataset.fault === "";
    const field = document.getElementById(place.dataset.fault);
    if (field && what !== "") field.setAttribute("aria-invalid", "true");
    else field?.removeAttribute("aria-invalid");
    if (what !== "") place.closest("details")?.setAttribute("open", "");
  }
}

form.addEventListener("input", () => {
  mark();
  clearTimeout(timer);
  timer = setTimeout(check, WAIT_MS);
});
document.getElementById("origin-choice").addEventListener("change", (event) => event.target.form.submit());
mark();
