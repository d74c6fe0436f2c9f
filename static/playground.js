// Asks two checkpoints to continue a prompt, and shows what each wrote as soon as it is there.

const form = document.getElementById("ask");
const EVERY_MS = 1000;
const COUNT = 4;

async function call(url, options) {
  const answer = await fetch(url, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail ?? `The server answered ${answer.status}.`);
  return said;
}

function show(side, name, lines) {
  const place = document.getElementById(`out-${side}`);
  const title = document.createElement("strong");
  title.textContent = name;
  place.replaceChildren(title, ...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
}

const newest = {}; // of each side, what was asked last: an earlier answer that comes late is not shown

async function write(side, prompt) {
  const mine = Symbol(side);
  newest[side] = mine;
  const choice = document.getElementById(side);
  const name = choice.selectedOptions[0].textContent;
  show(side, name, ["is writing …"]);
  try {
    const body = JSON.stringify({ checkpoint: choice.value, prompt, count: COUNT });
    const { job } = await call("/api/v1/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    while (newest[side] === mine) {
      const found = await call(`/api/v1/jobs/${job}`);
      if (newest[side] !== mine) break;
      if (found.state === "done") return show(side, name, found.result.samples.map((one) => one.text + (one.valid ? "" : " (cut off)")));
      if (found.state === "failed") throw new Error(found.error ?? "It could not be written.");
      await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
    }
  } catch (error) {
    if (newest[side] === mine) show(side, name, [error.message]);
  }
  return undefined;
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = document.getElementById("prompt").value;
  write("left", prompt);
  write("right", prompt);
});
