// Dialogs that ask before something is done. Escape and Cancel close them without consequence.

const byId = (id) => document.getElementById(id);

export const isOpen = () => document.querySelector("dialog[open]") !== null;

export function help() {
  byId("help-dialog").showModal();
}

// done(reason)
export function flag(done) {
  ask(byId("flag-dialog"), (form) => {
    const note = form.get("note").trim();
    done(note ? `${form.get("reason")}: ${note}` : form.get("reason"));
  });
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
