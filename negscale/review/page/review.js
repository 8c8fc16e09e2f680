// The review page. Rows come as JSON and become text nodes: nothing that a caption holds is ever markup.
"use strict";

const at = (id) => document.getElementById(id);
const percent = (share) => (100 * share).toFixed(1) + " %";
let state = null; // of the session: marks, next, figures
let here = 0; // number of the row that is shown
let busy = false;

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = text;
  return node;
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

function say(text, isError) {
  at("message").textContent = text;
  at("message").className = isError ? "error" : "";
}

function text(label, className, ...children) {
  const block = make("div", "text " + className);
  block.append(make("span", "label", label));
  const value = make("span", "value");
  value.append(...children);
  block.append(value);
  return block;
}

const segments = (pairs) => pairs.map(([words, differs]) => make(differs ? "mark" : "span", "", words));

function list(values, marked) {
  const node = make("ol");
  values.forEach((value, k) => node.append(make("li", k === marked ? "answer" : "", value)));
  return node;
}

function picture(number, column, many) {
  const figure = make("figure");
  const image = make("img");
  image.alt = column;
  image.addEventListener("error", async () => {
    let why = "the image cannot be shown";
    try { await ask(image.src); } catch (error) { why = error.message; }
    figure.replaceChildren(make("div", "broken", why));
  }, { once: true });
  image.src = `image/${number}/${encodeURIComponent(column)}`;
  figure.append(image);
  if (many) figure.append(make("figcaption", "", column));
  return figure;
}

function showState() {
  const answered = state.marks.filter((mark) => mark !== null).length;
  const figures = state.figures;
  at("title").textContent = state.title;
  at("reviewer").textContent = "reviewer " + state.reviewer;
  at("done").style.width = percent(answered / state.marks.length).replace(" ", "");
  at("progress").textContent = `row ${here + 1} · ${answered} of ${state.marks.length} answered · ${state.population} kept`;
  at("precision").textContent = figures.judged
    ? `precision ${percent(figures.precision)} (${percent(figures.low)} to ${percent(figures.high)}, n = ${figures.judged})`
    : "precision: no answer yet";
  for (const verdict of ["yes", "no", "skip"]) at(verdict).classList.toggle("given", state.marks[here] === verdict);
}

async function show(number) {
  here = number;
  const row = await ask("row/" + number);
  if (here !== number) return; // another row was asked for meanwhile
  document.title = `${number + 1} of ${state.marks.length} · negscale review`;
  at("pictures").replaceChildren(...row.images.map((column) => picture(number, column, row.images.length > 1)));
  at("question").textContent = row.question;
  const texts = [];
  if (row.negated_caption.length) texts.push(text("new caption", "main", ...segments(row.negated_caption)));
  if (row.absent_object) texts.push(text("said to be absent", "", make("span", "object", row.absent_object)));
  if (row.caption.length) {
    const label = row.negated_caption.length ? "original caption" : "caption";
    texts.push(text(label, row.negated_caption.length ? "old" : "main", ...segments(row.caption)));
  }
  if (row.options) texts.push(text("options", "", list(row.options, row.answer)));
  at("texts").replaceChildren(...texts);
  const lines = [["id", row.id], ...row.details].map(([name, value]) => {
    const line = make("tr");
    const cell = make("td");
    cell.append(Array.isArray(value) ? list(value.map(String)) : String(value));
    line.append(make("td", "", name), cell);
    return line;
  });
  at("details").replaceChildren(...lines);
  at("panel").scrollTop = 0;
  showState();
  const after = number + 1; // fetch the next picture while this one is looked at
  if (after < state.marks.length) for (const column of row.images) new Image().src = `image/${after}/${encodeURIComponent(column)}`;
}

function followingOpen(from) {
  const order = state.marks.map((_, k) => (from + k) % state.marks.length);
  const found = order.find((k) => state.marks[k] === null);
  return found === undefined ? null : found;
}

async function goOn(from) {
  const next = followingOpen(from);
  if (next !== null) return show(next);
  showState();
  say("All rows are answered. Stop the program in the terminal (Ctrl-C); it prints the summary.");
}

async function act(work) {
  if (busy) return;
  busy = true;
  try {
    say("");
    await work();
  } catch (error) {
    say(error instanceof TypeError ? "The program does not answer; is it still running?" : error.message, true);
  } finally {
    busy = false;
  }
}

const give = (verdict) => act(async () => {
  state = await ask("answer", { row: here, verdict });
  await goOn(here + 1);
});

const undo = () => act(async () => {
  state = await ask("undo", {});
  await show(state.row === null ? here : state.row);
  say(state.row === null ? "Nothing to undo." : "Taken back.");
});

const step = (by) => act(() => show((here + by + state.marks.length) % state.marks.length));

const keys = {
  y: () => give("yes"), n: () => give("no"), s: () => give("skip"), u: undo,
  d: () => { at("more").open = !at("more").open; }, // closed at first: a model's score must not lead the eye
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), " ": () => act(() => goOn(here + 1)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in keys)) return;
  event.preventDefault();
  keys[key]();
});
for (const verdict of ["yes", "no", "skip"]) at(verdict).addEventListener("click", () => give(verdict));
at("undo").addEventListener("click", undo);

act(async () => {
  state = await ask("state");
  if (state.next === null) {
    await show(0);
    await goOn(0);
  } else {
    await show(state.next);
  }
});
