// Keeps the part of a page fresh that a job changes, and what is typed beside it; without this, the page is loaded anew by hand.

const EVERY_MS = 1500;

async function fetched() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function showText(fresh) {
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-part]")) {
    const said = fresh.querySelector(`[data-part="${part.dataset.part}"]`)?.textContent ?? "";
    if (part.textContent !== said) part.textContent = said;
  }
}

/** Puts the new part in the place of the old one, and the focus where it was. */
function showPart(place, fresh) {
  if (place.innerHTML === fresh.innerHTML) return;
  const at = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  place.replaceChildren(...fresh.childNodes);
  if (at !== null) place.querySelector(`a[href="${CSS.escape(at)}"]`)?.focus();
}

async function follow() {
  const place = document.querySelector("[data-live]");
  while (place?.dataset.live === "open") {
    await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
    const page = await fetched().catch(() => null);
    const fresh = page?.querySelector("[data-live]");
    if (!fresh) continue; // a server that is away comes back
    const state = fresh.dataset.live;
    showText(page);
    showPart(place, fresh);
    place.dataset.live = state;
  }
}

follow();
