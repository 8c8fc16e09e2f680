// The gallery. Rows come as JSON and become text nodes: nothing that a caption holds is ever markup.
// Only the cards near the window are in the document; all have one height, the one that nine of ten need.
"use strict";

const at = (id) => document.getElementById(id);
const page = JSON.parse(at("data").textContent);
at("data").textContent = "";
const GAP = 14;
const AHEAD = 2; // lines of cards kept above and below the window
const CARD_WIDTH = page.figures > 1 ? 80 + 120 * page.figures : { questions: 330 }[page.kind] ?? 270;
const NARROW = window.matchMedia("(max-width: 700px)").matches;
const number = new Intl.NumberFormat("en");
const fits = { place: "", fate: "", object: "", text: "", score: "", low: "", high: "", sort: "" };

let order = []; // numbers of the rows that are shown
let here = 0; // place in `order` of the row that has the focus
let columns = 1, width = 0, height = 0;
const shown = new Map(); // place in `order` -> card

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// -- pictures ----------------------------------------------------------------------------------------------------------

const chunks = []; // decoded lists of base64; the later ones are still on their way while the first cards show
const waiting = new Map(); // picture -> images that wait for it

function address(picture) {
  if (page.files) return page.folder + page.files[picture];
  const at = Math.floor(picture / page.chunk);
  if (!chunks[at]) {
    const block = document.getElementsByClassName("pictures")[at];
    // the block is whole once something follows it, or the document has ended
    if (!block || (!block.nextElementSibling && document.readyState === "loading")) return null;
    chunks[at] = JSON.parse(block.textContent);
    block.textContent = "";
  }
  return `data:image/${page.suffix};base64,${chunks[at][picture % page.chunk]}`;
}

function show(image, picture) {
  const found = address(picture);
  if (found) image.src = found;
  else waiting.set(picture, [...(waiting.get(picture) ?? []), image]);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const [picture, images] of waiting) for (const image of images) show(image, picture);
  waiting.clear();
});

function overlay(image, boxes) {
  const make = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
  const svg = make("svg");
  const [w, h] = [image.naturalWidth, image.naturalHeight];
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`); // the same fit as the picture below it
  for (const [x, y, wide, high, meant] of boxes) {
    const box = make("rect");
    for (const [name, value] of [["x", x * w], ["y", y * h], ["width", wide * w], ["height", high * h]]) box.setAttribute(name, value);
    if (meant) box.setAttribute("class", "meant");
    svg.append(box);
  }
  return svg;
}

function figure([label, picture, why, boxes], many) {
  const frame = make("div", "frame");
  if (picture < 0) frame.append(make("div", "why-not", why));
  else {
    const image = make("img");
    image.alt = label;
    image.decoding = "async";
    image.addEventListener("error", () => frame.replaceChildren(make("div", "why-not", "the picture is not beside this page")), { once: true });
    if (boxes) image.addEventListener("load", () => frame.append(overlay(image, boxes)), { once: true });
    frame.append(image);
    show(image, picture);
  }
  return make("figure", "figure", frame, many ? make("figcaption", "", label) : null);
}

function figures(row) {
  const list = row.g ?? [];
  return make("div", list.length > 1 ? "figures" : "figures one", ...list.map((one) => figure(one, list.length > 1)));
}

// -- cards -------------------------------------------------------------------------------------------------------------

function isolated(node) {
  node.dir = "auto"; // right-to-left text and its control characters stay within their own line
  return node;
}

function texts(row) {
  return (row.t ?? []).map(([label, pieces], k) => {
    const value = isolated(make("span", "value", ...pieces.map((piece, n) => (n % 2 ? make("mark", "", piece) : piece))));
    return make("div", k ? "text" : "text main", make("span", "label", page.names[label]), value);
  });
}

function options(row) {
  if (!row.q) return null;
  return make("ol", "options", ...row.q.map((text, k) => isolated(make("li", k === row.a ? "right" : "", make("span", "", text)))));
}

function chips(row) {
  const verdicts = (row.v ?? []).map(([name, value]) => make("span", value ? "yes" : "no", make("b", "", value ? "✓" : "✗"), " " + page.names[name]));
  const scores = page.scores.flatMap(([, label], k) => (row.s[k] === null ? [] : [make("span", "", label + " ", make("b", "", String(row.s[k])))]));
  return verdicts.length + scores.length ? make("div", "chips", ...verdicts, ...scores) : null;
}

const objects = (row) => (row.o ? make("div", "", ...row.o.slice(0, 12).map((name) => isolated(make("span", "object", name)))) : null);
const fault = (row) => (row.m ? isolated(make("p", "fault", row.m)) : null);
const badge = (row) => {
  const [place, reason] = page.fates[row.f];
  const node = make("span", "badge " + place, reason ? reason.split("/").pop() : place);
  node.title = reason || place;
  return node;
};

function card(row) {
  const id = make("span", "id", row.i);
  id.title = row.i;
  const head = make("div", "head", badge(row), id);
  const node = make("article", "card", figures(row), head, make("div", "body", fault(row), ...texts(row), options(row), objects(row), chips(row)));
  node.setAttribute("role", "listitem");
  node.tabIndex = -1;
  return node;
}

// -- the grid ----------------------------------------------------------------------------------------------------------

function measure() {
  const grid = at("grid");
  const room = grid.clientWidth;
  columns = Math.max(1, Math.floor((room + GAP) / (CARD_WIDTH + GAP)));
  width = Math.floor((room - GAP * (columns - 1)) / columns);
  const count = Math.min(40, page.rows.length);
  const tried = Array.from({ length: count }, (_, k) => page.rows[Math.floor((k * page.rows.length) / count)]);
  const trial = make("div", "measure", ...tried.map(card));
  trial.style.width = width + "px";
  grid.append(trial);
  const heights = [...trial.children].map((node) => node.offsetHeight).sort((a, b) => a - b);
  trial.remove();
  waiting.clear();
  height = Math.ceil(heights[Math.floor(0.9 * (heights.length - 1))] ?? 300) + 2;
}

function lay() {
  for (const node of shown.values()) node.remove();
  shown.clear();
  at("grid").style.height = Math.ceil(order.length / columns) * (height + GAP) + "px";
  fill();
}

function fill() {
  const top = at("grid").getBoundingClientRect().top;
  const line = height + GAP;
  const first = Math.max(0, Math.floor(-top / line) - AHEAD) * columns;
  const last = Math.min(order.length, (Math.ceil((window.innerHeight - top) / line) + AHEAD) * columns);
  const focused = document.activeElement?.classList.contains("card");
  for (const [place, node] of shown) {
    if (place < first || place >= last) {
      if (node !== document.activeElement) { node.remove(); shown.delete(place); }
    }
  }
  const made = [];
  for (let place = first; place < last; place += 1) {
    if (shown.has(place)) continue;
    const node = card(page.rows[order[place]]);
    node.style.width = width + "px";
    node.style.height = height + "px";
    node.style.transform = `translate(${(place % columns) * (width + GAP)}px, ${Math.floor(place / columns) * line}px)`;
    node.dataset.place = place;
    node.setAttribute("aria-setsize", order.length);
    node.setAttribute("aria-posinset", place + 1);
    if (place === here) node.tabIndex = 0;
    shown.set(place, node);
    made.push(node);
  }
  at("grid").append(...made);
  for (const node of made) node.classList.toggle("clipped", node.lastChild.scrollHeight > node.lastChild.clientHeight + 2);
  if (focused && !document.activeElement?.classList.contains("card")) shown.get(here)?.focus({ preventScroll: true });
  if (!shown.has(here) && shown.size) { // scrolled away: Tab leads to a card that is in sight
    here = Math.min(order.length - 1, Math.max(0, Math.ceil(-top / line)) * columns);
    if (shown.has(here)) shown.get(here).tabIndex = 0;
  }
}

function go(place) {
  if (!order.length) return;
  const before = shown.get(here);
  if (before) before.tabIndex = -1;
  here = Math.min(Math.max(place, 0), order.length - 1);
  const top = at("grid").getBoundingClientRect().top + Math.floor(here / columns) * (height + GAP);
  const under = at("bar").offsetHeight + 8;
  if (top < under) window.scrollBy(0, top - under);
  else if (top + height > window.innerHeight) window.scrollBy(0, Math.min(top - under, top + height + 8 - window.innerHeight));
  fill();
  const node = shown.get(here);
  node.tabIndex = 0;
  node.focus({ preventScroll: true });
}

// -- filters -----------------------------------------------------------------------------------------------------------

const scoreNumber = (name) => page.scores.findIndex(([score]) => score === name);
const fateOf = (row) => page.fates[row.f];

function haystack(row) {
  row.h ??= [row.i, row.m ?? "", ...(row.t ?? []).map(([, pieces]) => pieces.join("")), ...(row.q ?? []), ...(row.o ?? []), ...(row.d ?? []).map(([, text]) => text)]
    .join("\n").normalize("NFKC").toLowerCase();
  return row.h;
}

function accepts() {
  const words = fits.text.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean);
  const object = fits.object.trim().toLowerCase();
  const score = scoreNumber(fits.score);
  const low = fits.low === "" ? -Infinity : Number(fits.low), high = fits.high === "" ? Infinity : Number(fits.high);
  const bounded = score >= 0 && (fits.low !== "" || fits.high !== "");
  return (row) =>
    (!fits.place || fateOf(row)[0] === fits.place) && (fits.fate === "" || row.f === Number(fits.fate)) &&
    (!object || (row.o ?? []).some((name) => name.toLowerCase() === object)) &&
    (!bounded || (row.s[score] !== null && row.s[score] >= low && row.s[score] <= high)) &&
    words.every((word) => haystack(row).includes(word));
}

function sorted(numbers) {
  const [by, way] = fits.sort.split(" ");
  if (by === "id") return numbers.sort((a, b) => (page.rows[a].i < page.rows[b].i ? -1 : 1));
  const score = scoreNumber(by);
  if (score < 0) return numbers; // the order of the sample: a random one
  const sign = way === "down" ? -1 : 1;
  const value = (n) => page.rows[n].s[score];
  return numbers.sort((a, b) => (value(a) === null) - (value(b) === null) || sign * (value(a) - value(b)) || a - b);
}

function apply(keepPlace) {
  const keeps = accepts();
  order = sorted(page.rows.flatMap((row, n) => (keeps(row) ? [n] : [])));
  here = 0;
  for (const button of document.querySelectorAll("[data-place]:not(.card)")) button.setAttribute("aria-pressed", button.dataset.place === fits.place);
  for (const name of ["fate", "object", "text", "score", "low", "high", "sort"]) if (at(name).value !== fits[name]) at(name).value = fits[name];
  at("found").textContent = `${number.format(order.length)} of ${number.format(page.rows.length)} rows here · ${number.format(page.population)} in the run`;
  at("none").hidden = order.length > 0;
  lay();
  if (!keepPlace && at("bar").getBoundingClientRect().top <= 0) toRows();
  const bounded = fits.low !== "" || fits.high !== "";
  const set = Object.entries(fits).filter(([name, value]) => value !== "" && (name !== "score" || bounded));
  try { history.replaceState(null, "", set.length ? "#" + new URLSearchParams(set) : location.pathname + location.search); } catch { /* a viewer that forbids it */ }
}

const toRows = () => window.scrollTo(0, document.querySelector("header").offsetHeight); // where the bar sticks
const set = (values) => { Object.assign(fits, values); apply(); };
const reset = () => set({ place: "", fate: "", object: "", text: "", score: page.scores[0]?.[0] ?? "", low: "", high: "", sort: "" });

function controls() {
  for (const [k, [place, reason, , here]] of page.fates.entries()) if (reason) at("fate").append(new Option(`${reason} (${number.format(here)})`, k));
  const counts = new Map();
  for (const row of page.rows) for (const name of row.o ?? []) counts.set(name, (counts.get(name) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 500);
  at("objects").append(...common.map(([name, count]) => { const option = new Option(`${count} rows`, name); return option; }));
  at("object-field").hidden = !counts.size;
  at("sort").append(new Option("random", ""), new Option("id", "id up"));
  for (const [score, label] of page.scores) {
    at("score").append(new Option(label, score));
    at("sort").append(new Option(label + " ↑", score + " up"), new Option(label + " ↓", score + " down"));
  }
  for (const field of document.querySelectorAll(".score-field")) field.hidden = !page.scores.length;
  for (const button of document.querySelectorAll("[data-place]")) {
    const count = page.rows.reduce((sum, row) => sum + (fateOf(row)[0] === button.dataset.place), 0);
    if (button.lastElementChild) button.lastElementChild.textContent = number.format(count);
    button.addEventListener("click", () => set({ place: button.dataset.place, fate: "" }));
  }
  for (const button of document.querySelectorAll("[data-fate]")) button.addEventListener("click", () => {
    const fate = page.fates[button.dataset.fate];
    set(fate[1] ? { place: "", fate: button.dataset.fate } : { place: fate[0], fate: "" });
    toRows();
  });
  for (const bar of document.querySelectorAll(".bar")) bar.addEventListener("click", () => {
    set({ score: bar.dataset.score, low: bar.dataset.low, high: bar.dataset.high });
    toRows();
  });
  let later = 0;
  for (const name of ["text", "object", "low", "high"]) at(name).addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(() => set({ [name]: at(name).value }), 120);
  });
  for (const name of ["fate", "score", "sort"]) at(name).addEventListener("change", () => set({ [name]: at(name).value, ...(name === "fate" ? { place: "" } : {}) }));
  at("reset").addEventListener("click", reset);
  at("reset-none").addEventListener("click", reset);
  at("more").addEventListener("click", () => at("more").setAttribute("aria-expanded", at("bar").classList.toggle("open")));
}

// -- one row, whole ----------------------------------------------------------------------------------------------------

function cells(name, ...value) {
  const line = make("tr");
  line.append(make("td", "role", name), make("td", "", isolated(make("span", "value", ...value))));
  return line;
}

function open(place) {
  if (!order.length) return;
  here = Math.min(Math.max(place, 0), order.length - 1);
  const row = page.rows[order[here]];
  const [fate, reason] = fateOf(row);
  at("detail-id").textContent = row.i;
  const lines = [cells("fate", reason ? `${fate}: ${reason}` : fate), ...(row.d ?? []).map(([name, text]) => cells(page.names[name].replaceAll("_", " "), text))];
  lines.push(cells("its story", make("code", "", `negscale why ${page.run} ${quoted(row.i)}`)));
  at("detail-body").replaceChildren(figures(row), make("div", "", fault(row), ...texts(row), options(row), objects(row), chips(row)), make("table", "", ...lines));
  if (!at("detail").open) at("detail").showModal();
  at("detail").scrollTop = 0;
}

const quoted = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// -- keys --------------------------------------------------------------------------------------------------------------

const moves = {
  ArrowLeft: () => here - 1, ArrowRight: () => here + 1, ArrowUp: () => here - columns, ArrowDown: () => here + columns,
  Home: () => 0, End: () => order.length - 1,
  PageUp: () => here - columns * Math.max(1, Math.floor(window.innerHeight / height)),
  PageDown: () => here + columns * Math.max(1, Math.floor(window.innerHeight / height)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const place = event.target.closest?.(".card")?.dataset.place;
  const typing = event.target.matches?.("input, select");
  if (at("detail").open) {
    if (event.key === "ArrowLeft") open(here - 1);
    else if (event.key === "ArrowRight") open(here + 1);
    else return;
  } else if (event.key === "/" && !typing) at("text").focus();
  else if (place !== undefined && event.key in moves) { here = Number(place); go(moves[event.key]()); }
  else if (place !== undefined && (event.key === "Enter" || event.key === " ")) open(Number(place));
  else return;
  event.preventDefault();
});

at("grid").addEventListener("click", (event) => {
  const node = event.target.closest(".card");
  if (node && !window.getSelection().toString()) open(Number(node.dataset.place));
});
at("grid").addEventListener("focusin", (event) => {
  const place = event.target.closest(".card")?.dataset.place;
  if (place !== undefined) here = Number(place);
});
at("previous").addEventListener("click", () => open(here - 1));
at("next").addEventListener("click", () => open(here + 1));
at("close").addEventListener("click", () => at("detail").close());
at("detail").addEventListener("click", (event) => { if (event.target === at("detail")) at("detail").close(); });
at("detail").addEventListener("close", () => go(here));

// -- start -------------------------------------------------------------------------------------------------------------

let frame = 0;
window.addEventListener("scroll", () => { frame ||= requestAnimationFrame(() => { frame = 0; fill(); }); }, { passive: true });
let lastRoom = 0;
new ResizeObserver(() => {
  const room = at("grid").clientWidth;
  if (room === lastRoom) return fill();
  const top = at("grid").getBoundingClientRect().top;
  const first = top < 0 ? Math.floor(-top / (height + GAP)) * columns : -1; // the card that the reader looks at
  lastRoom = room;
  measure();
  lay();
  if (first >= 0) window.scrollBy(0, at("grid").getBoundingClientRect().top + Math.floor(first / columns) * (height + GAP));
}).observe(at("gallery"));

at("about").open = !NARROW;
document.documentElement.style.setProperty("--figures", page.figures);
controls();
lastRoom = at("grid").clientWidth;
measure();
Object.assign(fits, { score: page.scores[0]?.[0] ?? "" });
for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in fits) fits[name] = value;
apply(true);
page.firstCardMs = Math.round(performance.now());
window.negscaleGallery = { firstCardMs: page.firstCardMs, shown: () => shown.size, order: () => order.length };
