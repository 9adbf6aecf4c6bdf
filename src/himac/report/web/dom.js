// Small words the other files are written in: elements, numbers, colours, the data, unpacking a chunk.
// Text of a run reaches the page only through textContent (see `el`), never as markup.

let DATA = JSON.parse(document.getElementById("data").textContent);
let RUNS = DATA.runs;
const PHASES = {
  planner: { name: "phase A", long: "phase A, planner explores", colour: "var(--a)", dash: "" },
  executor: { name: "phase B", long: "phase B, executor adapts", colour: "var(--b)", dash: "5 3" },
  joint: { name: "joint", long: "both levels together", colour: "var(--c)", dash: "" },
  flat: { name: "flat", long: "flat agent", colour: "var(--c)", dash: "" },
  eval: { name: "evaluation", long: "evaluation", colour: "var(--ink)", dash: "" },
};
const phaseName = (phase) => PHASES[phase]?.name ?? phase;

// el("p.note", {title: "..."}, "text", child, [more]) -> an element. Strings become text nodes.
function el(what, ...rest) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  return fill(node, rest);
}

function svg(tag, ...rest) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), rest);
}

function fill(node, rest) {
  for (const part of rest.flat(3)) {
    if (part === null || part === undefined || part === false) continue;
    if (part instanceof Node) node.append(part);
    else if (typeof part === "object") assign(node, part);
    else node.append(document.createTextNode(String(part)));
  }
  return node;
}

function assign(node, settings) {
  for (const [key, value] of Object.entries(settings)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "css") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else node.setAttribute(key, value === true ? "" : value);
  }
}

const isNumber = (x) => typeof x === "number" && Number.isFinite(x);
const percent = (x) =>
  isNumber(x)
    ? `${[0, 1].includes(x) ? 100 * x : x < 0.01 ? Number((100 * x).toPrecision(2)) : (100 * x).toFixed(1)} %`
    : "–";
const whole = (x) => (isNumber(x) ? Math.round(x).toLocaleString("en") : "–");
const interval = (row) => `${percent(row.success_low)} – ${percent(row.success_high)}`;
const signed = (x, digits = 2) =>
  isNumber(x) ? (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(digits) : "–";
const plural = (n, word) => `${whole(n)} ${word}${n === 1 ? "" : "s"}`;

function brief(x) {
  if (!isNumber(x)) return "–";
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size >= 1000) return whole(x);
  const text = size >= 0.01 ? String(Number(x.toPrecision(3))) : x.toExponential(1);
  return text.replaceAll("-", "−");
}

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const words = (stop) => String(stop).replaceAll("_", " ");

// An episode's row of the index as an object; `run` is its run's place.
function episodeAt(run, place) {
  const { columns, rows } = RUNS[run].episodes;
  const found = { run, id: place };
  columns.forEach((name, i) => (found[name] = rows[place][i]));
  return found;
}

// Every kept episode of a run, in file order (made once).
const listed = new Map();
function episodesOf(run) {
  if (!listed.has(run))
    listed.set(
      run,
      RUNS[run].episodes.rows.map((_, place) => episodeAt(run, place)),
    );
  return listed.get(run);
}

// What the runs hold now: a page that follows a live run takes it again and again.
function take(data) {
  DATA = data;
  RUNS = data.runs;
  for (const kept of [listed, chunks, spoken]) kept.clear();
}

const groupKey = (e) => `${e.run}/${e.iteration}/${e.phase}/${e.split}/${e.group}`;

// Unpack the chunk that holds an episode; resolves to its full record.
const chunks = new Map();
async function detailOf(episode) {
  const key = `${episode.run}/${episode.chunk}`;
  if (!chunks.has(key)) chunks.set(key, unpack(RUNS[episode.run].episodes.chunks[episode.chunk]));
  return (await chunks.get(key))[episode.place];
}

// The texts of a run's episodes, unpacked when somebody searches (see packed.py): {texts, rows}.
const spoken = new Map();
function textsOf(run) {
  if (!spoken.has(run)) spoken.set(run, unpack(RUNS[run].episodes.texts));
  return spoken.get(run);
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// A table: head is a list of names, rows lists of cells; numbers align right.
function table(head, rows, caption) {
  const numeric = head.map((_, i) => rows.every((row) => /^[-–−+.,\d\s%e[\]]*$/.test(cellText(row[i]))));
  const side = (i) => ({ class: numeric[i] ? "num" : null });
  return el(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      el(
        "thead",
        el(
          "tr",
          head.map((name, i) => el("th", side(i), { scope: "col" }, name)),
        ),
      ),
      el(
        "tbody",
        rows.map((row) =>
          el(
            "tr",
            row.map((cell, i) => el("td", side(i), cell)),
          ),
        ),
      ),
    ),
  );
}
const cellText = (cell) => (cell instanceof Node ? cell.textContent : String(cell ?? ""));

function select(label, options, value, onchange) {
  const box = el(
    "select",
    { onchange: (event) => onchange(event.target.value) },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)),
  );
  return el("label.pick", el("span", label), box);
}
