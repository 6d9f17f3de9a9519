// All searches, and which of them to compare.

import { ask, clock, el, fill, number, to, when } from "./dom.js";

export class Home {
  constructor(root) {
    this.root = root;
    this.chosen = new Set();
    this.title = "searches";
    this.stream = "/api/events";
    this.list = el("div", { class: "scroll" });
    this.button = el("button", { type: "button", onclick: () => this.compare() }, "compare");
    fill(root, el("h1", {}, "Searches"), this.list, el("p", {}, this.button));
    this.choose();
  }

  choose() {
    this.button.disabled = this.chosen.size < 2;
    this.button.textContent = this.chosen.size < 2 ? "compare: choose two or more" : `compare ${this.chosen.size}`;
  }

  compare() {
    const names = [...this.chosen].map((name) => `name=${encodeURIComponent(name)}`);
    location.assign(`/compare?${names.join("&")}`);
  }

  async refresh() {
    const rows = await ask("/api/searches");
    if (!rows.length) {
      fill(this.list, el("p", {}, "No search is here yet; ", el("code", {}, "python -m search digits_cnn"), " begins one."));
      return;
    }
    const heads = ["", "search", "state", "best", "test", "progress", "took", "study", "data", "started"];
    const side = { 3: "n", 4: "n", 6: "n" };
    fill(this.list, el("table", { class: "keep" },
      el("thead", {}, el("tr", {}, heads.map((text, index) => el("th", { scope: "col", class: side[index] ?? "" }, text)))),
      el("tbody", {}, rows.map((row) => this.row(row)))));
  }

  row(row) {
    if (row.fault) {
      return el("tr", {}, el("td", {}), el("th", { scope: "row" }, row.name), el("td", { colspan: 8, class: "alarm" }, row.fault));
    }
    const box = el("input", {
      type: "checkbox", id: `choose-${row.name}`, "aria-label": `compare ${row.name}`, checked: this.chosen.has(row.name),
      onchange: () => { if (box.checked) this.chosen.add(row.name); else this.chosen.delete(row.name); this.choose(); },
    });
    return el("tr", {}, el("td", {}, box),
      el("th", { scope: "row" }, el("a", { href: to(row.name), id: `open-${row.name}` }, row.name)),
      el("td", {}, el("span", { class: `state ${row.state}` }, row.state)),
      el("td", { class: "n", title: row.metric }, number(row.best)), el("td", { class: "n" }, number(row.test)),
      el("td", {}, el("progress", { max: 1, value: row.share, "aria-label": "progress" }), ` ${row.ended} of ${row.trials}`,
        row.left_s === null ? "" : `, about ${clock(row.left_s)} left`),
      el("td", { class: "n" }, clock(row.took_s)), el("td", {}, row.study),
      el("td", {}, row.stand_in ? `STAND-IN for ${row.data}` : row.data), el("td", {}, when(row.started)));
  }
}
