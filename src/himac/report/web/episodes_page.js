// The list of episodes, grouped with their peers or sorted. Filters, order and search live in the address, so a view can
// be linked and "back" works.

const FILTERS = {
  run: "run",
  iteration: "iteration",
  phase: "phase",
  split: "split",
  kind: "task type",
  success: "result",
  stop: "ended by",
};
const SORTS = {
  "": "iteration, first to last",
  "-iteration": "iteration, last to first",
  "-return": "return, highest first",
  return: "return, lowest first",
  "-surprise": "surprise, highest first",
  surprise: "surprise, lowest first",
  "-env_steps": "length, longest first",
  env_steps: "length, shortest first",
};
const PAGE = 40,
  MARKS = 64; // lines, and marks of a line, that are drawn at first

// query: the filters, `sort` (one of SORTS) and `q`, the words that are searched
async function episodesPage(main, query) {
  const given = new URLSearchParams(query);
  const asked = Object.fromEntries([...given].filter(([key]) => key in FILTERS));
  const sort = given.get("sort") in SORTS ? given.get("sort") : "";
  const all = RUNS.flatMap((_, run) => episodesOf(run));
  const matching = all.filter((e) => Object.entries(asked).every(([key, value]) => holds(e, key, value)));
  const results = el("div.results");
  const view = { asked, sort, words: given.get("q") ?? "" };
  let latest = 0;
  const search = async (words) => {
    const turn = ++latest,
      began = performance.now();
    view.words = words;
    const pattern = patternOf(words);
    const found = pattern && (await searchTexts(pattern));
    if (turn === latest) results.replaceChildren(...resultsOf(all, matching, view, pattern, found, began));
  };
  const typed = (words) => {
    const address = addressOf({ ...view, words });
    history.replaceState(null, "", `#${address}`); // no page of its own for each letter
    document.body.dataset.ready = address;
    return search(words);
  };
  main.append(el("h1", "Episodes"), filterBar(all, view, typed), results);
  await search(view.words);
}

// A point of a curve may stand for several runs and their last iterations: a link to it names them all.
const SEVERAL = ["run", "iteration"];
const holds = (e, key, value) =>
  SEVERAL.includes(key) ? value.split(",").includes(String(e[key])) : String(e[key]) === value;

function addressOf({ asked, sort, words }) {
  const query = new URLSearchParams(asked);
  if (sort) query.set("sort", sort);
  if (words.trim()) query.set("q", words.trim());
  return String(query) ? `episodes?${query}` : "episodes";
}

function resultsOf(all, matching, view, pattern, found, began) {
  const kept = found ? matching.filter((e) => found.has(`${e.run}/${e.id}`)) : matching;
  const places = found ? sum(kept, (e) => found.get(`${e.run}/${e.id}`).length) : 0;
  const isFlat = found || (view.sort && view.sort !== "-iteration");
  const list = isFlat
    ? flatList(sorted(kept, view.sort), (e) => found && foundList(e, found.get(`${e.run}/${e.id}`), pattern))
    : groupList(all, new Set(kept), view.sort);
  const took = Math.round(performance.now() - began);
  return [
    el(
      "p.note",
      { role: "status", id: "count", "data-count": kept.length, "data-words": view.words.trim(), "data-took": took },
      found ? `${plural(places, "place")} in ` : "",
      plural(kept.length, "episode"),
      isFlat ? ", " : ` in ${plural(new Set(kept.map(groupKey)).size, "group")}, `,
      `${percent(kept.length ? sum(kept, (e) => e.success) / kept.length : NaN)} successful. `,
      RUNS.map((run) => run.rule)
        .filter((rule, i, rules) => rules.indexOf(rule) === i)
        .join(" "),
    ),
    el(
      "p.keys.note",
      el("span.key", el("span.mark.won", "1.0"), "success"),
      el("span.key", el("span.mark", "−0.5"), "no success"),
      el("span.key", el("span.mark.won.chosen", "1.0"), "z*, the blueprint phase B executes"),
      "The number is the return.",
    ),
    /surprise/.test(view.sort)
      ? el("p.note", "Surprise: how unlikely what was sampled was, the mean of −log p over an episode's sampled tokens, in nats a token. 0: the model was certain. Without log-probabilities (endpoints) an episode stands last.")
      : "",
    list,
  ];
}

// Highest or lowest first; what has no value stands last, and equals stay in the order of the file.
function sorted(episodes, sort) {
  const key = sort.replace("-", ""),
    sign = sort.startsWith("-") ? -1 : 1;
  if (!key) return episodes;
  const [known, unknown] = [episodes.filter((e) => isNumber(e[key])), episodes.filter((e) => !isNumber(e[key]))];
  return [...known.sort((a, b) => sign * (a[key] - b[key])), ...unknown];
}

function filterBar(all, view, typed) {
  const { asked } = view;
  const go = (next) => (location.hash = addressOf({ ...view, ...next }));
  const filter = (key, value) => {
    const next = { ...asked, [key]: value };
    if (value === "") delete next[key];
    go({ asked: next });
  };
  const picks = Object.entries(FILTERS).map(([key, label]) => {
    const values = [...new Set(all.map((e) => e[key]))];
    if (typeof values[0] === "number") values.sort((a, b) => a - b);
    if (values.length < 2) return null;
    const options = [["", "any"], ...values.map((v) => [String(v), valueName(key, v)])];
    if (SEVERAL.includes(key) && asked[key]?.includes(","))
      options.push([asked[key], key === "run" ? `${asked[key].split(",").length} runs` : asked[key]]);
    const pick = select(label, options, asked[key] ?? "", (v) => filter(key, v));
    pick.dataset.filter = key;
    pick.querySelector("select").id = `filter-${key}`;
    return pick;
  });
  const order = select("sort by", Object.entries(SORTS), view.sort, (sort) => go({ sort }));
  order.dataset.filter = "sort";
  order.querySelector("select").id = "sort";
  const box = el("input", {
    type: "search",
    id: "search",
    value: view.words,
    placeholder: "words in tasks, blueprints, completions, answers",
    oninput: (event) => typed(event.target.value),
    onfocus: () => RUNS.forEach((_, run) => textsOf(run)), // unpacked by the time the first letter is typed
  });
  const reset = el(
    "button.quiet",
    {
      type: "button",
      disabled: addressOf(view) === "episodes",
      onclick: () => (location.hash = "episodes"),
    },
    "clear",
  );
  return el(
    "form.filters",
    { role: "search", onsubmit: (event) => event.preventDefault() },
    el("label.pick.wide", el("span", "search in what was said"), box),
    picks,
    order,
    reset,
  );
}

function valueName(key, value) {
  if (key === "run") return RUNS[value].name;
  if (key === "phase") return PHASES[value]?.long ?? value;
  if (key === "success") return value ? "success" : "no success";
  return key === "stop" ? words(value) : value === "" ? "none" : value;
}

function groupList(all, matching, sort) {
  const groups = new Map();
  for (const e of all) {
    const key = groupKey(e);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(e);
  }
  const kept = folded([...groups.values()].filter((group) => group.some((e) => matching.has(e))));
  if (sort) kept.sort((a, b) => b[0].iteration - a[0].iteration);
  return growing(kept, (group) => groupLine(group, matching));
}

// Episodes one a line, with what they are sorted by; `more` gives what stands below a line.
const flatList = (episodes, more) =>
  growing(episodes, (e) =>
    el(
      "li.flat",
      whereOf(e),
      el("span", e.phase === "eval" ? `${e.split} ${e.index}` : groupLink(e), e.kind ? el("span.kind", ` ${e.kind}`) : null),
      el("span", mark(e)),
      el("span.numbers", `${plural(e.env_steps, "step")}`, el("span", `surprise ${brief(e.surprise)}`)),
      more(e),
    ),
  );

// A list of which the first lines are drawn, and more on demand.
function growing(lines, draw) {
  const list = el("ol.groups"),
    more = el("button", { type: "button" }, "show more");
  let shown = 0;
  const grow = () => {
    list.append(...lines.slice(shown, shown + PAGE).map(draw));
    shown = Math.min(shown + PAGE, lines.length);
    more.hidden = shown === lines.length;
    more.textContent = `show more (${whole(lines.length - shown)} left)`;
  };
  more.addEventListener("click", grow);
  grow();
  return el("div", lines.length ? list : el("p.empty", "No episode matches."), more);
}

// Evaluations have one episode a task: those of an iteration stand together.
function folded(groups) {
  const found = [],
    evaluations = new Map();
  for (const group of groups) {
    const first = group[0],
      key = `${first.run}/${first.iteration}/${first.split}`;
    if (first.phase !== "eval") found.push(group);
    else if (evaluations.has(key)) evaluations.get(key).push(...group);
    else {
      evaluations.set(key, [...group]);
      found.push(evaluations.get(key));
    }
  }
  return found;
}

function groupLine(group, matching) {
  const first = group[0],
    alone = first.phase === "eval";
  const wins = sum(group, (e) => e.success);
  const head = alone
    ? el("span", `evaluation on ${first.split}`)
    : el("span", groupLink(first), first.kind ? el("span.kind", ` ${first.kind}`) : null);
  return el(
    "li",
    whereOf(first),
    head,
    el("span.wins", `${wins}/${group.length}`),
    marks(group, matching),
  );
}

const groupLink = (e) => el("a", { href: `#group/${e.run}/${e.id}` }, `${e.split} ${e.index}`);
const whereOf = (e) =>
  el(
    "span.where",
    RUNS.length > 1 ? `${RUNS[e.run].name} · ` : "",
    `iteration ${e.iteration} · ${phaseName(e.phase)}`,
  );

function marks(group, matching) {
  const draw = (episodes) => episodes.map((e) => mark(e, matching.has(e))),
    rest = group.slice(MARKS);
  const more = el(
    "button",
    { type: "button", onclick: () => more.replaceWith(...draw(rest)) },
    `${rest.length} more`,
  );
  return el("span.marks", draw(group.slice(0, MARKS)), rest.length ? more : null);
}

function mark(e, isMatching = true) {
  const classes = ["mark", e.success && "won", e.chosen && "chosen", !isMatching && "dim"].filter(Boolean).join(".");
  const what = [
    e.success ? "success" : "no success",
    `return ${brief(e.return)}`,
    words(e.stop),
    e.advantage !== null && `advantage ${signed(e.advantage)}`,
    e.copy && "same blueprint as a peer: run once",
  ]
    .filter(Boolean)
    .join(", ");
  return el(
    `a.${classes}`,
    { href: `#episode/${e.run}/${e.id}`, title: `task ${e.index}: ${what}`, "aria-label": what },
    isNumber(e.return) ? e.return.toFixed(1).replace("-", "−") : "?",
  );
}
