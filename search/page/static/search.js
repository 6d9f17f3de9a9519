// One search: how it stands, what runs, its course, all its trials, what it found.

import { api, ask, clock, el, fill, number, several, spark, to } from "./dom.js";
import { draw, drawAll, only } from "./figures.js";
import { Steer } from "./steer.js";
import { Trials } from "./trials.js";

export class Search {
  constructor(root, name) {
    this.name = name;
    this.title = name;
    this.stream = `/api/events?name=${encodeURIComponent(name)}`;
    this.event = 0;
    this.told = null;
    this.wanted = null;
    this.open = (trial) => location.assign(to(name, "trial", trial));
    this.head = el("header", {});
    this.steer = new Steer(name);
    this.stops = new Map();
    this.running = el("section", { id: "running" });
    this.history = el("div", { class: "plot" });
    this.curves = el("div", { class: "plot" });
    this.trials = new Trials(name, (wanted) => { this.wanted = wanted; this.plots(); });
    this.course = el("section", { id: "course" }, el("h2", {}, "Course"), el("div", { class: "figures" },
      el("figure", {}, this.history, el("figcaption", {}, "Each trial's best value. A click opens the trial.")),
      el("figure", {}, this.curves, el("figcaption", {}, "The value after each epoch; trials are compared at the dotted lines."))));
    this.found = el("div", {});
    this.rung = el("select", { id: "rung", onchange: () => this.sections() });
    this.details = el("details", { id: "found", ontoggle: () => this.sections() }, el("summary", {}, "What it found"),
      el("p", {}, el("label", { for: "rung" }, "hyperparameters after epoch "), this.rung), this.found);
    fill(root, this.head, this.steer.element, this.running, this.course, this.trials.element, this.details);
  }

  async refresh() {
    const told = await ask(`${api(this.name)}?after=${this.event}`);
    const before = this.event;
    this.event = told.event;
    this.told = told;
    this.drawHead();
    this.steer.take(told);
    this.drawRunning();
    if (told.event !== before || before === 0) {
      this.trials.take(told);
      this.plots();
      this.rungs();
      if (this.details.open && (told.state !== "running" || Date.now() > (this.sectionsAt ?? 0) + 10_000)) this.sections();
    }
  }

  drawHead() {
    const told = this.told, counts = Object.entries(told.counts).map(([state, count]) => `${count} ${state}`).join(", ");
    const tile = (name, text, more) => el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: "number" }, text), el("br"),
      el("span", { class: "soft small" }, more)));
    fill(this.head, el("h1", {}, told.name), el("p", { class: "soft" }, told.about ? `${told.study}: ${told.about}` : told.study),
      el("p", {}, el("span", { class: `state ${told.state}` }, told.state), told.why ? `: ${told.why}` : "",
      told.state === "running" && told.steering.paused ? el("strong", {}, `, paused by ${told.steering.paused}`) : ""),
      told.stand_in && el("p", { class: "banner" },
        `STAND-IN DATA: ${told.data} could not be had, and this ran on ${told.stand_in}. No number here says anything about ${told.data}.`),
      el("p", {}, el("progress", { max: 1, value: told.share, "aria-label": "progress" }), ` ${told.progress}`),
      el("dl", { class: "tiles" },
        tile(told.metric, number(told.best), told.best_trial === null ? "no trial has a finite value yet" : `trial ${told.best_trial}, epoch ${told.best_epoch}`),
        tile("test accuracy", number(told.test), told.test === null ? "the test set is opened at the end" : "measured for the winner"),
        tile("trials", `${told.ended} of ${told.trials}`, counts || "none yet"),
        tile("time", clock(told.took_s), told.left_s === null ? several(told.epochs, "epoch") : `about ${clock(told.left_s)} left`)));
  }

  drawRunning() {
    const told = this.told, rows = told.running;
    this.running.hidden = told.state !== "running";
    const values = rows.flatMap((row) => row.values).filter((value) => value !== null);
    const low = Math.min(...values), high = Math.max(...values);
    fill(this.running, el("h2", {}, "Running now"), rows.length ? el("div", { class: "scroll" }, el("table", { class: "keep" },
      el("thead", {}, el("tr", {}, ["trial", "epoch", told.metric, "curve", "compared next", "heard of", ""].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map((row) => el("tr", {},
        el("th", { scope: "row" }, el("a", { href: to(this.name, "trial", row.trial), id: `running-${row.trial}` }, `${row.trial}`),
          el("span", { class: "soft small" }, ` ${row.origin}`)),
        el("td", {}, el("progress", { max: row.budget, value: row.epochs, "aria-label": "epochs" }), ` ${row.epochs}/${row.budget}`),
        el("td", { class: "n" }, number(row.values.filter((value) => value !== null).at(-1))),
        el("td", {}, spark(row.values, low, high, row.budget)),
        el("td", {}, row.next_rung === null ? "no more" : `after epoch ${row.next_rung}`,
          row.passed.length ? el("span", { class: "soft small" }, `, passed ${row.passed.join(", ")}`) : ""),
        el("td", { class: "soft" }, `${clock(row.heard_s)} ago`), el("td", {}, this.stop(row.trial))))))) : el("p", { class: "soft" }, "No trial runs at this moment."));
  }

  // The same button as long as the trial runs: one that was pressed once stays so.
  stop(trial) {
    if (!this.stops.has(trial)) this.stops.set(trial, this.steer.stop(trial));
    return this.stops.get(trial);
  }

  plots() {
    const plots = this.told?.plots ?? {};
    this.course.hidden = !plots.history;
    for (const [name, place] of [["history", this.history], ["curves", this.curves]]) {
      if (plots[name]) draw(place, this.wanted ? only(plots[name], this.wanted) : plots[name], this.open);
    }
  }

  rungs() {
    const known = this.told.compared_at.join(",");
    if (this.rung.dataset.known === known) return;
    this.rung.dataset.known = known;
    fill(this.rung, el("option", { value: "" }, "as says most"), this.told.compared_at.map((epoch) => el("option", { value: epoch }, String(epoch))));
  }

  async sections() {
    if (!this.details.open) return;
    this.sectionsAt = Date.now();
    if (!this.found.firstChild) fill(this.found, el("p", { class: "soft" }, "being worked out …"));
    // The server makes this from the template of the report, in which every text is escaped.
    const markup = await ask(`${api(this.name)}/sections?rung=${this.rung.value}`);
    this.found.innerHTML = markup;
    drawAll(this.found, this.open);
  }
}
