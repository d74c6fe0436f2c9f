// The guideline: beside the task where there is room, else over it.

const dialog = document.getElementById("guide");
const button = document.getElementById("guide-button");
const wide = matchMedia("(min-width: 75rem)");
const KEPT = "prefloop.guide";

export function toggle() {
  if (dialog === null) return;
  if (dialog.open) dialog.close();
  else open();
}

function open() {
  if (wide.matches) dialog.show();
  else dialog.showModal();
  settle();
}

function settle() {
  document.body.classList.toggle("guided", dialog.open && wide.matches);
  button.setAttribute("aria-expanded", String(dialog.open));
  if (wide.matches) localStorage.setItem(KEPT, dialog.open ? "open" : "");
}

if (dialog !== null) {
  dialog.addEventListener("close", settle);
  document.getElementById("guide-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "g" && dialog.matches(":modal")) dialog.close();
  });
  wide.addEventListener("change", () => dialog.open && dialog.close());
  if (wide.matches && localStorage.getItem(KEPT) === "open") {
    const focused = document.activeElement;
    open();
    focused?.focus();
  }
}
