// Plots: what findings say is to be drawn, by plotly, in the page's colours.

import { meta } from "./dom.js";

const drawn = new Map();
let script = null;

function plotly() {
  script ??= new Promise((done, failed) => {
    const made = document.createElement("script");
    made.src = meta("plotly");
    made.onload = () => done(window.Plotly);
    made.onerror = () => failed(new Error("the script of the charts cannot be loaded"));
    document.head.append(made);
  });
  return script;
}

function coloured(value, styles) {
  if (typeof value === "string") {
    const found = /^var\((--[\w-]+)\)$/.exec(value);
    return found ? styles.getPropertyValue(found[1]).trim() : value;
  }
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((each) => coloured(each, styles));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, coloured(each, styles)]));
}

function layout(told, styles) {
  const colour = (name) => styles.getPropertyValue(name).trim();
  const axis = (own) => ({
    automargin: true, gridcolor: colour("--grid"), linecolor: colour("--soft"), zeroline: false,
    tickcolor: colour("--soft"), ...own,
  });
  const { y_title: title, ...rest } = told;
  return {
    margin: { l: 54, r: 8, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: styles.fontFamily, size: 12, color: colour("--ink") },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
    hovermode: "closest", hoverlabel: { bgcolor: colour("--tint"), font: { color: colour("--ink") } },
    dragmode: "zoom", uirevision: "kept",
    ...rest,
    xaxis: axis(rest.xaxis), yaxis: axis({ ...rest.yaxis, title: title ? { text: title, standoff: 6 } : undefined }),
  };
}

// Of `plot` the points of the trials for which `wanted` says yes.
export function only(plot, wanted) {
  const data = plot.data.map((trace) => {
    if (!trace.customdata) return trace;
    const keep = trace.customdata.map((trial) => trial === null || wanted(trial));
    if (keep.every(Boolean)) return trace;
    const chosen = (list) => (Array.isArray(list) ? list.filter((_, index) => keep[index]) : list);
    const line = trace.marker?.line ? { ...trace.marker.line, width: chosen(trace.marker.line.width) } : undefined;
    return {
      ...trace, x: chosen(trace.x), y: chosen(trace.y), customdata: chosen(trace.customdata),
      marker: { ...trace.marker, ...(line ? { line } : {}) },
    };
  });
  return { ...plot, data };
}

export async function draw(place, plot, open = null) {
  drawn.set(place, { plot, open });
  const library = await plotly();
  if (!place.isConnected) return;
  const styles = getComputedStyle(document.body);
  const settings = {
    displaylogo: false, responsive: true, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };
  const first = !place.classList.contains("js-plotly-plot");
  await library.react(place, coloured(plot.data, styles), layout(coloured(plot.layout, styles), styles), settings);
  if (first && open) {
    place.on("plotly_click", (event) => {
      const trial = event.points[0]?.customdata;
      if (typeof trial === "number") open(trial);
    });
  }
}

// Draws what a fragment of HTML has placeholders for.
export function drawAll(parent, open) {
  for (const place of parent.querySelectorAll(".plot[data-plot]")) draw(place, JSON.parse(place.dataset.plot), open);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [place, { plot, open }] of drawn) {
    if (place.isConnected) draw(place, plot, open);
    else drawn.delete(place);
  }
});
