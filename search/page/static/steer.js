// What can be asked of a running search, and what came of it.

import { api, ask, el, fill, meta } from "./dom.js";

const PATIENCE = 5000; // milliseconds in which a second press confirms the first

export class Steer {
  constructor(name) {
    this.name = name;
    this.sent = new Map();
    this.line = el("p", { role: "status", class: "small", id: "steer-said" });
    this.log = el("ul", { class: "small soft log" });
    this.pause = this.button("steer-pause", "pause", () => this.ask(this.paused ? "go-on" : "pause"));
    this.end = this.confirmed("steer-finish", "finish now", "press again to end it", () => this.ask("finish"));
    this.trials = this.form("steer-trials", "number", "more trials", { min: 1, max: 10000, value: "10" }, (text) => this.ask("trials", Number(text)));
    this.time = this.form("steer-time", "number", "more minutes", { min: 1, max: 10000, value: "5" }, (text) => this.ask("time", 60 * Number(text)));
    this.add = this.form("steer-add", "text", "try next", { placeholder: "lr=0.03 width=32", size: 28 }, (text) => this.ask("add", text));
    this.bar = el("div", { class: "steer" }, this.pause, this.end, this.trials, this.time, this.add);
    this.element = el("section", { id: "steer", "aria-label": "steering", hidden: true }, this.bar, this.line, this.log);
  }

  button(id, text, press) { return el("button", { type: "button", id, onclick: press }, text); }

  // A button that does what it says at the second press.
  confirmed(id, text, question, press) {
    let armed = 0;
    const made = this.button(id, text, () => {
      clearTimeout(armed);
      if (armed) { armed = 0; made.textContent = text; press(); return; }
      made.textContent = question;
      armed = setTimeout(() => { armed = 0; made.textContent = text; }, PATIENCE);
    });
    return made;
  }

  form(id, type, text, properties, send) {
    const input = el("input", { type, id, required: true, autocomplete: "off", ...properties, "aria-label": text });
    return el("form", { onsubmit: (event) => { event.preventDefault(); send(input.value); } }, input, el("button", {}, text));
  }

  stop(trial) {
    if (meta("read-only")) return null;
    return this.confirmed(`stop-${trial}`, "stop", "really stop", () => this.ask("stop-trial", trial));
  }

  async ask(verb, what = null) {
    this.line.textContent = "sent; the search takes it within a second";
    try {
      const { id } = await ask(`${api(this.name)}/requests`, { verb, what });
      this.sent.set(id, verb);
    } catch (error) {
      this.line.textContent = error.message;
    }
  }

  take(told) {
    const { paused, told: said, timed, next } = told.steering;
    this.paused = paused;
    this.bar.hidden = told.state !== "running" || Boolean(meta("read-only"));
    this.element.hidden = said.length === 0 && this.bar.hidden;
    this.pause.textContent = paused ? "go on" : "pause";
    this.time.hidden = !timed;
    for (const each of said) {
      if (this.sent.delete(each.id)) this.line.textContent = each.text;
    }
    fill(this.log, said.toReversed().map((each) => el("li", {}, `${new Date(1000 * each.at).toLocaleTimeString()} ${each.text}`)),
      next.length ? el("li", {}, `${next.length} configuration${next.length === 1 ? "" : "s"} to be tried next`) : null);
  }
}
