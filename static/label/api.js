// One request to the API. Throws Unreachable when it is worth trying again, Refused when it is not.

const TIMEOUT_MS = 10_000;
const TRY_AGAIN = new Set([401, 403, 408, 425, 429]);

export class Unreachable extends Error {}

export class Refused extends Error {}

export async function call(method, path, { body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== undefined) headers["Idempotency-Key"] = key;
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive: true, // an answer given just before the tab closes still arrives
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    answer = response.status === 204 ? null : await response.json();
  } catch {
    throw new Unreachable("The server does not answer");
  }
  if (response.ok) return answer;
  if (response.status === 401) throw new Unreachable("You are signed out: open your sign-in link in another tab");
  const detail = answer?.detail ?? `The server answered ${response.status}`;
  throw response.status >= 500 || TRY_AGAIN.has(response.status) ? new Unreachable(detail) : new Refused(detail);
}
