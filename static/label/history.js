// The last answers of this person, newest last: what can be taken back or changed.
//
// An item is {lease, key, said, label?, revised?}: `key` names the newest thing sent about it, `label` the newest revision
// that the server has confirmed.

import { call } from "./api.js";

const MOST = 10;

export class History {
  #items;
  #name;

  constructor(account, run, changed) {
    this.run = run;
    this.changed = changed;
    this.#name = `prefloop.answers.${account}.${run}`;
    this.#items = JSON.parse(sessionStorage.getItem(this.#name) ?? "[]");
    this.#keep();
  }

  get newest() {
    return this.#items.at(-1);
  }

  newestFirst() {
    return this.#items.toReversed();
  }

  // A new tab knows nothing yet: the server does, unless answers still wait here.
  async load(isSettled) {
    if (this.#items.length > 0 || !isSettled()) return;
    try {
      const { answers } = await call("GET", `/runs/${this.run}/answers?count=${MOST}`);
      if (this.#items.length > 0) return; // one was given meanwhile: those before it are left to the next load
      this.#items = answers.toReversed().map(({ label, lease, ...said }) => ({ lease, key: `of ${label}`, said, label }));
      this.#keep();
    } catch {
      // Without it the list starts with the next answer.
    }
  }

  add(item) {
    this.#items.push(item);
    if (this.#items.length > MOST) this.#items.shift();
    this.#keep();
  }

  pop() {
    const last = this.#items.pop();
    this.#keep();
    return last;
  }

  drop(key) {
    this.#items = this.#items.filter((item) => item.key !== key);
    this.#keep();
  }

  revise(item, key, said) {
    Object.assign(item, { key, said, revised: true });
    this.#keep();
  }

  named(key, label) {
    const item = this.#items.find((one) => one.key === key);
    if (item === undefined || label === undefined) return;
    item.label = label;
    this.#keep();
  }

  #keep() {
    sessionStorage.setItem(this.#name, JSON.stringify(this.#items));
    this.changed(this.#items.length);
  }
}
