// Building blocks: elements without innerHTML, numbers and times for people.

/** An element; children that are null are left out, strings become text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replace the content of the element `id`, but only if it differs: selections survive, and details that are open stay open. */
export function fill(id, ...children) {
  const place = document.getElementById(id);
  const fresh = el("div", {}, ...children);
  if (fresh.innerHTML !== place.dataset.shown) {
    place.dataset.shown = fresh.innerHTML;
    const open = new Set([...place.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    place.replaceChildren(...fresh.childNodes);
    for (const one of place.querySelectorAll("details")) one.open = open.has(one.dataset.key);
  }
}

export function show(id, visible) {
  document.getElementById(id).hidden = !visible;
}

export function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Seconds as the largest unit that fits: 42 s, 3 min, 2 h, 4 d. */
export function age(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

export function clock(iso) {
  const options = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  return el("time", { datetime: iso }, new Date(iso).toLocaleString("en-GB", options));
}

export const KINDS = {
  reference: "reference",
  policy: "policy",
  reward_model: "reward model",
  training_state: "training state",
};

export function checkpointName(checkpoint) {
  if (!checkpoint) return "–";
  return checkpoint.kind === "reference" ? "reference" : `${KINDS[checkpoint.kind]} ${checkpoint.number}`;
}
