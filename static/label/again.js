// Looks every few seconds whether there is a run to label for, and goes there when there is one.

const LOOK_MS = 5_000;

setInterval(async () => {
  try {
    const answer = await fetch("/label", { redirect: "follow" });
    if (answer.ok && answer.redirected) location.assign(answer.url);
  } catch {
    // The next look will tell.
  }
}, LOOK_MS);
