// The comparisons this browser holds: the first is on the screen, the others wait behind it.

import { call } from "./api.js";

const POLL_MS = 2_000;
const RENEW_MS = 120_000;
const IDLE_MS = 600_000;
const MOST = 8;

export class Queue {
  #items = [];
  #answered = new Set();
  #asking = null;
  #timer = 0;
  #renewed = 0;
  #doubtful = false; // others may hold by now what this browser was lent
  #active = Date.now();

  // pending(): comparisons whose answers the server does not have yet
  // events: changed(), progress(progress), unreachable(detail)
  constructor({ place, prefetch, pending, events }) {
    this.path = `${place}/leases`;
    this.target = prefetch + 1;
    this.pending = pending;
    this.events = events;
    document.addEventListener("visibilitychange", () => this.#onVisible());
  }

  get current() {
    return this.#items[0];
  }

  // The first is done with; ask for more behind the others.
  finish(comparison) {
    this.#active = Date.now();
    this.#answered.add(comparison);
    this.#items = this.#items.filter((item) => item.comparison !== comparison);
    this.events.changed();
    this.fill();
  }

  // An answer was taken back: its comparison comes first again.
  putBack(lease) {
    this.#active = Date.now();
    this.#answered.delete(lease.comparison);
    this.#items = [lease, ...this.#items.filter((item) => item.comparison !== lease.comparison)];
    this.events.changed();
  }

  fill() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
      this.#schedule();
    });
    return this.#asking;
  }

  async #ask() {
    const waiting = this.pending();
    const count = Math.min(MOST, this.target + waiting.size);
    try {
      const { leases, progress } = await call("POST", this.path, { body: { count } });
      this.#renewed = Date.now();
      this.#take(leases);
      this.events.progress(progress);
    } catch (error) {
      this.events.unreachable(error.message);
    }
  }

  #take(leases) {
    if (this.#doubtful) this.#keepOnly(leases);
    const waiting = this.pending(); // again: answers may have been given meanwhile
    const known = new Set(this.#items.map((item) => item.comparison));
    const isNew = ({ comparison }) => !known.has(comparison) && !waiting.has(comparison) && !this.#answered.has(comparison);
    const fresh = leases.filter(isNew);
    if (fresh.length === 0) return;
    this.#items.push(...fresh);
    this.events.changed();
  }

  // What is still lent stays as it is: somebody may have begun to write about it.
  #keepOnly(leases) {
    this.#doubtful = false;
    const lent = new Set(leases.map(({ comparison }) => comparison));
    const kept = this.#items.filter(({ comparison }) => lent.has(comparison));
    const changed = kept.length < this.#items.length;
    this.#items = kept;
    if (changed) this.events.changed();
  }

  #schedule() {
    clearTimeout(this.#timer);
    const short = this.#items.length < this.target;
    const inUse = !document.hidden && Date.now() - this.#active < IDLE_MS;
    if (short && (inUse || this.#items.length === 0)) {
      this.#timer = setTimeout(() => this.fill(), document.hidden ? 5 * POLL_MS : POLL_MS);
    } else if (inUse) {
      this.#timer = setTimeout(() => this.fill(), RENEW_MS); // keeps what is held; an idle page lets it go to others
    }
  }

  #onVisible() {
    if (document.hidden) return;
    this.#active = Date.now();
    if (Date.now() - this.#renewed > 2 * RENEW_MS) this.#doubtful = true;
    this.fill();
  }
}
