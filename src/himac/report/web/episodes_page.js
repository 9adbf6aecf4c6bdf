// The list of episodes, grouped with their peers. The filters live in the address, so a view can be linked and "back"
// works.

const FILTERS = {
  run: "run",
  iteration: "iteration",
  phase: "phase",
  split: "split",
  kind: "task type",
  success: "result",
  stop: "ended by",
};
const PAGE = 40,
  MARKS = 64; // lines, and marks of a line, that are drawn at first

function episodesPage(main, query) {
  const asked = Object.fromEntries([...new URLSearchParams(query)].filter(([key]) => key in FILTERS));
  const all = RUNS.flatMap((_, run) => episodesOf(run));
  const matching = all.filter((e) => Object.entries(asked).every(([key, value]) => String(e[key]) === value));
  main.append(
    el("h1", "Episodes"),
    filterBar(all, asked),
    el(
      "p.note",
      { role: "status", id: "count", "data-count": matching.length },
      `${plural(matching.length, "episode")} in ${plural(new Set(matching.map(groupKey)).size, "group")}, `,
      `${percent(matching.length ? sum(matching, (e) => e.success) / matching.length : NaN)} successful. `,
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
    groupList(all, new Set(matching)),
  );
}

function filterBar(all, asked) {
  const go = (key, value) => {
    const next = new URLSearchParams({ ...asked, [key]: value });
    if (value === "") next.delete(key);
    location.hash = `episodes?${next}`;
  };
  const picks = Object.entries(FILTERS).map(([key, label]) => {
    const values = [...new Set(all.map((e) => e[key]))];
    if (typeof values[0] === "number") values.sort((a, b) => a - b);
    if (values.length < 2) return null;
    const pick = select(
      label,
      [["", "any"], ...values.map((v) => [String(v), valueName(key, v)])],
      asked[key] ?? "",
      (v) => go(key, v),
    );
    pick.dataset.filter = key;
    return pick;
  });
  const reset = el(
    "button.quiet",
    { type: "button", disabled: !Object.keys(asked).length, onclick: () => (location.hash = "episodes") },
    "clear",
  );
  return el("form.filters", { onsubmit: (event) => event.preventDefault() }, picks, reset);
}

function valueName(key, value) {
  if (key === "run") return RUNS[value].name;
  if (key === "phase") return PHASES[value]?.long ?? value;
  if (key === "success") return value ? "success" : "no success";
  return key === "stop" ? words(value) : value === "" ? "none" : value;
}

function groupList(all, matching) {
  const groups = new Map();
  for (const e of all) {
    const key = groupKey(e);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(e);
  }
  const kept = folded([...groups.values()].filter((group) => group.some((e) => matching.has(e))));
  const list = el("ol.groups"),
    more = el("button", { type: "button" }, "show more");
  let shown = 0;
  const grow = () => {
    list.append(...kept.slice(shown, shown + PAGE).map((group) => groupLine(group, matching)));
    shown = Math.min(shown + PAGE, kept.length);
    more.hidden = shown === kept.length;
    more.textContent = `show more (${whole(kept.length - shown)} left)`;
  };
  more.addEventListener("click", grow);
  grow();
  return el("div", kept.length ? list : el("p.empty", "No episode matches these filters."), more);
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
    : el(
        "span",
        el("a", { href: `#group/${first.run}/${first.id}` }, `${first.split} ${first.index}`),
        first.kind ? el("span.kind", ` ${first.kind}`) : null,
      );
  return el(
    "li",
    el(
      "span.where",
      RUNS.length > 1 ? `${RUNS[first.run].name} · ` : "",
      `iteration ${first.iteration} · ${phaseName(first.phase)}`,
    ),
    head,
    el("span.wins", `${wins}/${group.length}`),
    marks(group, matching),
  );
}

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
