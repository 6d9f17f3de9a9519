// Which view an address shows, and how it is kept up to date.

import { el, fill, to } from "./dom.js";
import { Compare } from "./compare.js";
import { Home } from "./home.js";
import { Search } from "./search.js";
import { Trial } from "./trial.js";

const REST = 400; // milliseconds between two refreshes, at least
const SHARE = 60; // a refresh rests so many times as long as it took: trials on this machine need its cores more
const LONGEST = 30_000; // and no longer than so
const LIVELY = 10_000; // but hardly so soon after somebody touched the page
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

let busy = false, again = false, timer = 0, due = 0, touched = -Infinity;

// Until what was changed is on the screen; a hidden page never gets there.
const painted = () => new Promise((done) => {
  requestAnimationFrame(() => setTimeout(done));
  setTimeout(done, 1000);
});

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  const began = performance.now();
  try {
    await view.refresh();
    document.body.dataset.drawn = String(Date.now());
    await painted();
  } catch (error) {
    fill(root, el("p", { class: "banner", role: "alert" }, error.message));
  }
  const took = performance.now() - began;
  rest(began - touched < LIVELY ? REST : Math.min(Math.max(SHARE * took, REST), LONGEST));
}

function rest(milliseconds) {
  due = performance.now() + milliseconds;
  timer = setTimeout(() => {
    timer = 0;
    busy = false;
    if (again && !document.hidden) { again = false; refresh(); }
  }, milliseconds);
}

for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, () => {
    touched = performance.now();
    if (timer && due > touched + REST) { clearTimeout(timer); rest(REST); }
  });
}

const stream = new EventSource(view.stream);
stream.onopen = () => { link.textContent = ""; };
stream.onmessage = () => { if (document.hidden) again = true; else refresh(); };
stream.onerror = () => { link.textContent = "no connection to the server; trying again"; };
document.addEventListener("visibilitychange", () => { if (!document.hidden && again) { again = false; refresh(); } });
setInterval(() => { if (!document.hidden && view.told?.state === "running") refresh(); }, PULSE);
