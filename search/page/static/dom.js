// What every view needs: elements made of text, never of markup; fetching; numbers and times as people write them.

export const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

export function el(tag, properties = {}, ...children) {
  const made = tag === "svg" || tag === "polyline" || tag === "line" || tag === "circle"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export async function ask(address, body = null) {
  const options = body === null ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Search-Token": meta("search-token") },
    body: JSON.stringify(body),
  };
  const answer = await fetch(address, options);
  const kind = answer.headers.get("Content-Type") ?? "";
  const told = kind.startsWith("application/json") ? await answer.json() : await answer.text();
  if (!answer.ok) throw new Error(told.error ?? `the server said ${answer.status}`);
  return told;
}

export const api = (name, ...rest) => ["/api/searches", encodeURIComponent(name), ...rest].join("/");
export const to = (name, ...rest) => ["/search", encodeURIComponent(name), ...rest].join("/");

export const number = (value) => (typeof value === "number" ? value.toFixed(4) : "–");

export function short(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value ?? "");
  return String(Number(value.toPrecision(4)));
}

export function clock(seconds) {
  if (typeof seconds !== "number") return "–";
  const all = Math.round(seconds), hours = Math.floor(all / 3600), two = (part) => String(part).padStart(2, "0");
  const minutes = Math.floor((all % 3600) / 60);
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
}

export const when = (seconds) => new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

export const several = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// A curve in a line of text, on the scale from low to high.
export function spark(values, low, high, budget) {
  const width = 120, height = 24, span = high - low || 1, step = width / Math.max(1, budget - 1);
  const at = values.map((value, index) => (value === null ? null
    : `${(index * step).toFixed(1)},${(height - 2 - (height - 4) * Math.min(1, Math.max(0, (value - low) / span))).toFixed(1)}`));
  const points = at.filter((point) => point !== null);
  const picture = el("svg", { viewBox: `0 0 ${width} ${height}`, class: "spark", "aria-hidden": "true" });
  if (points.length > 1) picture.append(el("polyline", { points: points.join(" "), fill: "none" }));
  if (points.length) {
    const [x, y] = points.at(-1).split(",");
    picture.append(el("circle", { cx: x, cy: y, r: 2.5 }));
  }
  return picture;
}

// Puts `children` in place of what is in `parent`; the focus stays where it was, if that is still there.
export function fill(parent, ...children) {
  const id = parent.contains(document.activeElement) ? document.activeElement.id : "";
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
}
