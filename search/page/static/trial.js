// One trial: its curves, configuration, course, and what it left behind.

import { api, ask, clock, el, fill, number, short, to, when } from "./dom.js";
import { draw } from "./figures.js";

export class Trial {
  constructor(root, name, trial) {
    this.name = name;
    this.trial = trial;
    this.title = `trial ${trial} of ${name}`;
    this.stream = `/api/events?name=${encodeURIComponent(name)}`;
    this.head = el("header", {});
    this.plots = el("div", { class: "figures" });
    this.rest = el("div", {});
    this.places = new Map();
    fill(root, this.head, this.plots, this.rest);
  }

  async refresh() {
    const told = await ask(api(this.name, "trials", this.trial));
    const beside = [this.trial > 0 && el("a", { href: to(this.name, "trial", this.trial - 1) }, "previous"), " ",
      el("a", { href: to(this.name, "trial", this.trial + 1) }, "next")];
    fill(this.head, el("h1", {}, `Trial ${told.trial}`, told.winner ? ", the winner" : ""),
      el("p", {}, el("a", { href: to(this.name) }, this.name), " ", el("span", { class: "soft" }, beside)),
      el("p", {}, el("span", { class: `state ${told.state.replaceAll(" ", "-")}` }, told.state), told.why ? `: ${told.why}` : ""),
      el("dl", { class: "facts" }, this.facts(told).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])));
    for (const [name, plot] of Object.entries(told.plots)) {
      if (!this.places.has(name)) {
        this.places.set(name, el("div", { class: "plot" }));
        this.plots.append(el("figure", {}, this.places.get(name)));
      }
      plot.layout.showlegend = false;
      plot.layout.xaxis = { ...plot.layout.xaxis, range: [0.5, told.budget + 0.5] };
      draw(this.places.get(name), plot);
    }
    fill(this.rest, this.config(told), this.decisions(told), this.epochs(told), this.left("Traceback", told.traceback),
      this.left("Log", told.log), this.left("Stacks of when it was silent", told.stacks));
  }

  facts(told) {
    const seconds = told.epochs.reduce((sum, each) => sum + each.seconds, 0);
    const nodes = [...new Set(told.epochs.map((each) => `${each.node ?? "?"}, process ${each.pid ?? "?"}${each.gpus ? `, GPU ${each.gpus}` : ""}`))];
    return [
      ["origin", told.origin], [told.metric, told.best_epoch === null ? "none" : `${number(told.value)} in epoch ${told.best_epoch}`],
      ["epochs", `${told.epochs.length} of ${told.budget}`], ["training", `${clock(seconds)} in all`],
      ["began", when(told.began)], ["ended", told.ended === null ? "not yet" : when(told.ended)],
      ["machine", nodes.join("; ") || "not known yet"], ["attempts", String(told.attempts)],
    ];
  }

  config(told) {
    return el("section", {}, el("h2", {}, "Configuration"), el("dl", { class: "config" }, told.config.map((each) =>
      el("div", {}, el("dt", {}, each.name), el("dd", { class: each.searched ? "" : "soft" }, short(each.value))))));
  }

  decisions(told) {
    if (!told.decisions.length) return null;
    return el("section", {}, el("h2", {}, "Rungs"), el("div", { class: "scroll" }, el("table", { class: "keep" },
      el("thead", {}, el("tr", {}, ["after epoch", "value", "needed", "said"].map((text) => el("th", { scope: "col", class: "n" }, text)))),
      el("tbody", {}, told.decisions.map((each) => el("tr", {}, el("td", { class: "n" }, String(each.rung)), el("td", { class: "n" }, number(each.value)),
        el("td", { class: "n" }, each.cutoff === null ? "no rivals" : number(each.cutoff)),
        el("td", { class: "n" }, each.go_on ? (each.spared ? `goes on (${each.spared})` : "goes on") : "stops")))))));
  }

  epochs(told) {
    if (!told.epochs.length) return null;
    const names = [...new Set(told.epochs.flatMap((each) => Object.keys(each.metrics)))];
    return el("section", {}, el("h2", {}, "Epochs"), el("div", { class: "scroll" }, el("table", { class: "keep" },
      el("thead", {}, el("tr", {}, ["epoch", ...names, "seconds", "checkpoint"].map((text) => el("th", { scope: "col", class: "n" }, text)))),
      el("tbody", {}, told.epochs.map((each) => el("tr", {}, el("td", { class: "n" }, String(each.epoch)),
        names.map((name) => el("td", { class: "n" }, number(each.metrics[name]))), el("td", { class: "n" }, each.seconds.toFixed(2)),
        el("td", { class: "n" }, each.bytes ? `${(each.bytes / 1000).toFixed(0)} kB` : "–")))))));
  }

  left(name, text) {
    return text ? el("section", {}, el("h2", {}, name), el("pre", { class: "left", tabindex: 0 }, text)) : null;
  }
}
