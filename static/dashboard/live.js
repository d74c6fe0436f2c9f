// The stream of a run's status; polling takes over while the stream is down.

const SILENCE_MS = 25000;
const POLL_MS = 5000;
const STREAM_AGAIN_MS = 30000;

/**
 * Calls onStatus with {now, status} whenever something changed, and onState with "live", "polling" or "offline".
 * Returns a function that looks at once.
 */
export function follow(runId, onStatus, onState) {
  const base = `/runs/${runId}`;
  let source = null;
  let poll = null;

  const look = async () => {
    try {
      const answer = await fetch(`${base}/status.json`, { headers: { Accept: "application/json" } });
      if (answer.redirected || answer.status === 401) return location.reload(); // signed out meanwhile
      if (!answer.ok) throw new Error(String(answer.status));
      onStatus(await answer.json());
      if (source === null || source.readyState !== EventSource.OPEN) onState("polling");
    } catch {
      onState("offline");
    }
    return undefined;
  };

  const stopPolling = () => {
    clearInterval(poll);
    poll = null;
  };

  const startPolling = () => {
    if (poll !== null) return;
    look();
    poll = setInterval(look, POLL_MS);
  };

  const open = () => {
    source = new EventSource(`${base}/events`);
    source.addEventListener("open", () => {
      stopPolling();
      onState("live");
    });
    source.addEventListener("status", (event) => onStatus(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      startPolling();
      if (source.readyState === EventSource.CLOSED) setTimeout(open, STREAM_AGAIN_MS); // else the browser tries by itself
    });
    setTimeout(() => {
      if (source.readyState === EventSource.CONNECTING) startPolling(); // a proxy may swallow the stream
    }, SILENCE_MS);
  };

  open();
  return look;
}
