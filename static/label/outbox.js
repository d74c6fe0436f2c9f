// Answers wait here until the server has them, in the order given, one at a time.
//
// Each entry is kept in localStorage under a name of its own, so a reload, a crash or a second tab loses nothing; what a
// tab leaves behind when it is closed goes over to another that is open. An entry may be sent twice: its key makes that
// harmless.

import { Unreachable, call } from "./api.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

export class Outbox {
  #prefix;
  #left;
  #entries = new Map(); // name -> entry, in the order given
  #busy = false;
  #failures = 0;
  #wake = () => {};
  #counter = 0;

  // events: state(name, waiting, detail), settled(entry, answer), refused(entry, detail)
  constructor(account, events) {
    this.#prefix = `prefloop.outbox.${account}.`;
    this.#left = `prefloop.left.${account}`;
    this.events = events;
    this.#load();
    addEventListener("online", () => this.#wake());
    addEventListener("pagehide", () => this.#leave());
    addEventListener("storage", ({ key, newValue }) => {
      if (key === this.#left) this.#takeOver();
      else if (newValue === null && key !== null) this.#entries.delete(key); // another tab saved it
    });
  }

  get size() {
    return this.#entries.size;
  }

  values() {
    return [...this.#entries.values()];
  }

  start() {
    this.#send();
  }

  add(entry) {
    const order = `${Date.now().toString(36).padStart(9, "0")}.${(this.#counter++).toString(36).padStart(4, "0")}`;
    this.#keep(`${this.#prefix}${order}.${entry.key}`, entry);
    this.#send();
  }

  // Take back an answer that never left this browser. False if it may have reached the server.
  cancel(key) {
    for (const [name, entry] of this.#entries) {
      if (entry.key !== key) continue;
      if (entry.attempted) return false;
      this.#drop(name);
      return true;
    }
    return false;
  }

  async #send() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#entries.size > 0) {
      const [name, entry] = this.#entries.entries().next().value;
      await this.#try(name, entry);
    }
    this.#busy = false;
    this.events.state("saved", 0, "");
  }

  async #try(name, entry) {
    if (!entry.attempted) this.#keep(name, { ...entry, attempted: true });
    if (this.#failures === 0) this.events.state("saving", this.size, "");
    try {
      const answer = await request(entry);
      this.#failures = 0;
      if (answer?.label !== undefined) this.#nameLabel(entry.key, answer.label);
      this.#drop(name);
      this.events.settled(entry, answer);
    } catch (error) {
      if (error instanceof Unreachable) {
        this.#failures += 1;
        this.events.state("retrying", this.size, error.message);
        await this.#pause();
      } else {
        this.#failures = 0;
        this.#drop(name);
        this.events.refused(entry, error.message);
      }
    }
  }

  // This page ends. From now on another tab may send what waits here, so none of it can be cancelled any more.
  #leave() {
    if (this.size === 0) return;
    for (const [name, entry] of this.#entries) this.#keep(name, { ...entry, attempted: true });
    try {
      localStorage.setItem(this.#left, `${Date.now()} ${Math.random()}`); // the other tabs hear of it
    } catch {
      // The store is full or forbidden.
    }
  }

  #takeOver() {
    this.#load();
    this.#send();
  }

  // An undo or change given while its answer was still on the way learns the label's id here.
  #nameLabel(key, label) {
    for (const [name, entry] of this.#entries) {
      if (entry.of === key) this.#keep(name, { ...entry, label });
    }
  }

  #pause() {
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), LONGEST_PAUSE_MS);
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, longest * (0.75 + Math.random() / 4)); // spread, so that a server that is back can breathe
    });
  }

  #load() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(this.#prefix));
    for (const name of names.sort()) {
      const kept = localStorage.getItem(name); // null: another tab has saved it this very moment
      if (kept !== null && !this.#entries.has(name)) this.#entries.set(name, JSON.parse(kept));
    }
  }

  #keep(name, entry) {
    this.#entries.set(name, entry);
    try {
      localStorage.setItem(name, JSON.stringify(entry));
    } catch {
      // The store is full or forbidden: the entry lives as long as this page.
    }
  }

  #drop(name) {
    this.#entries.delete(name);
    localStorage.removeItem(name);
  }
}

function request(entry) {
  if (entry.kind === "label") {
    return call("POST", `/comparisons/${entry.comparison}/labels`, { body: entry.body, key: entry.key });
  }
  if (entry.kind === "flag") return call("POST", `/comparisons/${entry.comparison}/flag`, { body: entry.body });
  if (entry.label === undefined) return Promise.resolve(null); // its answer was refused: nothing to take back or change
  if (entry.kind === "revise") {
    return call("POST", `/labels/${entry.label}/revisions`, { body: entry.body, key: entry.key });
  }
  return call("DELETE", `/labels/${entry.label}`);
}
