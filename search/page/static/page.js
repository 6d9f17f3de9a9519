// Which view an address shows, and how it is kept up to date.

import { el, fill, to } from "./dom.js";
import { Compare } from "./compare.js";
import { Home } from "./home.js";
import { Search } from "./search.js";
import { Trial } from "./trial.js";

const REST = 400; // milliseconds between two refreshes, at least
const PULSE = 5000; // without news, times that pass are drawn anew this often

const root = document.getElementById("main");
const link = document.getElementById("link");

function chosen() {
  const parts = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  if (parts[0] === "compare") return new Compare(root, new URLSearchParams(location.search).getAll("name"));
  if (parts[0] === "search" && parts[2] === "trial") return new Trial(root, parts[1], Number(parts[3]));
  if (parts[0] === "search") return new Search(root, parts[1]);
  return new Home(root);
}

const view = chosen();
document.title = view.title;
if (view.name && view.trial !== undefined) document.getElementById("where").append("› ", el("a", { href: to(view.name) }, view.name));

let busy = false, again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    await view.refresh();
    document.body.dataset.drawn = String(Date.now());
  } catch (error) {
    fill(root, el("p", { class: "banner", role: "alert" }, error.message));
  }
  setTimeout(() => {
    busy = false;
    if (again && !document.hidden) { again = false; refresh(); }
  }, REST);
}

const stream = new EventSource(view.stream);
stream.onopen = () => { link.textContent = ""; };
stream.onmessage = () => { if (document.hidden) again = true; else refresh(); };
stream.onerror = () => { link.textContent = "no connection to the server; trying again"; };
document.addEventListener("visibilitychange", () => { if (!document.hidden && again) { again = false; refresh(); } });
setInterval(() => { if (!document.hidden && view.told?.state === "running") refresh(); }, PULSE);
