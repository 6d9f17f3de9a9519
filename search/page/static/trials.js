// The table of all trials: sorted, filtered, a hundred at a time.

import { el, fill, number, short, several, to } from "./dom.js";

const PIECE = 100;
const COMPARED = /^([\w./-]+?)(<=|>=|!=|=|<|>)(.+)$/;

export class Trials {
  // `changed` is told which trials the filter leaves, as a function of their number, or null for all.
  constructor(name, changed) {
    this.name = name;
    this.changed = changed;
    this.rows = new Map();
    this.sort = { by: "rank", up: true };
    this.shown = PIECE;
    this.filter = "";
    const help = "trials-help";
    this.input = el("input", {
      type: "search", id: "trials-filter", placeholder: "state, origin, lr<0.1, optimizer=adam", "aria-describedby": help,
      autocomplete: "off", spellcheck: "false",
      oninput: () => { this.filter = this.input.value; this.shown = PIECE; this.draw(); this.changed(this.wanted()); },
    });
    this.table = el("div", { class: "scroll" });
    this.count = el("span", { class: "soft small", role: "status" });
    this.element = el("section", { id: "trials" }, el("h2", {}, "All trials"),
      el("p", { class: "filter" }, el("label", { for: "trials-filter" }, "filter "), this.input, " ", this.count),
      el("p", { id: help, class: "soft small" },
        "Words must occur in a row; name<value, >, = and != compare a column. The plots above show the same trials."),
      this.table);
  }

  take(told) {
    if (told.full) this.rows.clear();
    for (const row of told.rows) this.rows.set(row.trial, row);
    this.columns = told.columns;
    this.metric = told.metric;
    this.winner = told.order[0];
    const ranks = new Map(told.order.map((trial, rank) => [trial, rank]));
    for (const row of this.rows.values()) {
      row.ranked = ranks.has(row.trial);
      row.rank = ranks.get(row.trial) ?? told.order.length + row.trial;
    }
    this.draw();
  }

  heads() {
    return [
      { key: "trial", text: "trial", number: true }, { key: "rank", text: "rank", number: true },
      { key: "state", text: "state" }, { key: "value", text: this.metric, number: true },
      { key: "epochs", text: "epochs", number: true }, { key: "seconds", text: "seconds", number: true },
      ...this.columns.map((column) => ({ key: column.name, text: column.short, number: column.number, point: true })),
      { key: "origin", text: "origin" }, { key: "why", text: "why it ended" },
    ];
  }

  static cell(row, head) { return head.point ? row.point[head.key] : row[head.key]; }

  wanted() {
    if (!this.filter.trim()) return null;
    const passes = this.test();
    return (trial) => { const row = this.rows.get(trial); return row !== undefined && passes(row); };
  }

  test() {
    const heads = this.heads();
    const tests = this.filter.trim().split(/\s+/).map((word) => {
      const found = COMPARED.exec(word);
      const head = found && heads.find((each) => each.text === found[1] || each.key === found[1]);
      if (!head) {
        const part = word.toLowerCase();
        return (row) => heads.some((each) => String(Trials.cell(row, each) ?? "").toLowerCase().includes(part));
      }
      const [, , sign, text] = found, wanted = Number(text);
      return (row) => {
        const value = Trials.cell(row, head);
        if (value === null || value === undefined) return false;
        const same = typeof value === "number" && !Number.isNaN(wanted) ? value === wanted : String(value) === text;
        if (sign === "=") return same;
        if (sign === "!=") return !same;
        if (typeof value !== "number" || Number.isNaN(wanted)) return false;
        return { "<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted }[sign];
      };
    });
    return (row) => tests.every((test) => test(row));
  }

  sorted(rows) {
    const head = this.heads().find((each) => each.key === this.sort.by) ?? this.heads()[1];
    const way = this.sort.up ? 1 : -1;
    return rows.sort((one, other) => {
      const [a, b] = [Trials.cell(one, head), Trials.cell(other, head)];
      // What has no value comes last, whichever way.
      if (a === null || a === undefined) return b === null || b === undefined ? one.trial - other.trial : 1;
      if (b === null || b === undefined) return -1;
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return way * order || one.trial - other.trial;
    });
  }

  draw() {
    if (!this.columns) return;
    const heads = this.heads(), all = [...this.rows.values()];
    const rows = this.sorted(this.filter.trim() ? all.filter(this.test()) : all);
    this.count.textContent = rows.length === all.length ? several(all.length, "trial") : `${rows.length} of ${several(all.length, "trial")}`;
    const head = el("tr", {}, heads.map((each) => {
      const by = this.sort.by === each.key;
      return el("th", { scope: "col", class: each.number ? "n" : "", "aria-sort": by ? (this.sort.up ? "ascending" : "descending") : null },
        el("button", {
          type: "button", id: `sort-${each.key}`, class: "sort",
          onclick: () => { this.sort = { by: each.key, up: by ? !this.sort.up : true }; this.draw(); },
        }, each.text, el("span", { "aria-hidden": "true" }, by ? (this.sort.up ? " ▲" : " ▼") : "")));
    }));
    const body = rows.slice(0, this.shown).map((row) => this.row(row, heads));
    fill(this.table, el("table", { class: "trials" }, el("thead", {}, head), el("tbody", {}, body)),
      rows.length > this.shown && el("p", {}, el("button", {
        type: "button", id: "trials-more", onclick: () => { this.shown += 10 * PIECE; this.draw(); },
      }, `show ${Math.min(10 * PIECE, rows.length - this.shown)} more`)));
  }

  row(row, heads) {
    return el("tr", { class: row.trial === this.winner ? "winner" : null }, heads.map((head) => {
      const value = Trials.cell(row, head), side = head.number ? "n" : "";
      if (head.key === "trial") {
        return el("th", { scope: "row", class: "n" }, el("a", { href: to(this.name, "trial", row.trial) }, String(row.trial)));
      }
      if (head.key === "rank") return el("td", { class: side }, row.ranked ? String(row.rank + 1) : "");
      if (head.key === "value") return el("td", { class: side }, number(value));
      if (head.key === "epochs") return el("td", { class: side }, `${value}/${row.budget}`);
      if (head.key === "state") return el("td", {}, el("span", { class: `state ${row.state.replaceAll(" ", "-")}` }, value));
      if (head.key === "why") return el("td", { class: "why", title: value }, value);
      return el("td", { class: side }, short(value));
    }));
  }
}
