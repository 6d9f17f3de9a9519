// Several searches side by side.

import { ask, clock, el, fill, number, to } from "./dom.js";
import { draw } from "./figures.js";

export class Compare {
  constructor(root, names) {
    this.names = names;
    this.title = names.join(" and ");
    const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
    this.stream = `/api/events?${query}`;
    this.address = `/api/compare?${query}`;
    this.time = el("div", { class: "plot" });
    this.epochs = el("div", { class: "plot" });
    this.note = el("div", {});
    this.heads = el("div", { class: "scroll" });
    this.tables = el("div", {});
    fill(root, el("h1", {}, "Side by side"), this.note, this.heads, el("h2", {}, "Best so far"), el("div", { class: "figures" },
      el("figure", {}, this.time, el("figcaption", {}, "By the seconds that the search has worked.")),
      el("figure", {}, this.epochs, el("figcaption", {}, "By the epochs that all its trials have trained."))), this.tables);
  }

  async refresh() {
    const told = await ask(this.address);
    fill(this.note, told.note && el("p", { class: "banner" }, told.note));
    const facts = [["state", (each) => each.state], ["progress", (each) => each.progress], [told.heads[0].metric, (each) => number(each.best)],
      ["winner", (each) => (each.best_trial === null ? "–" : `trial ${each.best_trial}`)], ["test accuracy", (each) => number(each.test)],
      ["epochs", (each) => String(each.epochs)], ["took", (each) => clock(each.took_s)]];
    fill(this.heads, this.table(told.heads, facts.map(([name, text]) => [name, told.heads.map(text), false])));
    draw(this.time, told.plots.time);
    draw(this.epochs, told.plots.epochs);
    const different = (rows) => rows.filter(([, , differs]) => differs);
    fill(this.tables, el("h2", {}, "Winners"), el("div", { class: "scroll" }, this.table(told.heads, told.winners)),
      el("h2", {}, "What they were given"), different(told.settings).length
        ? el("div", { class: "scroll" }, this.table(told.heads, different(told.settings))) : el("p", {}, "The same settings."));
  }

  table(heads, rows) {
    return el("table", { class: "keep" },
      el("thead", {}, el("tr", {}, el("td", {}), heads.map((head) => el("th", { scope: "col" }, el("a", { href: to(head.name) }, head.name))))),
      el("tbody", {}, rows.map(([name, texts, differs]) => el("tr", { class: differs ? "differs" : null },
        el("th", { scope: "row" }, name), texts.map((text) => el("td", {}, text))))));
  }
}
