// The learning curves of a run, or of several over one another: which, whose, and how runs that differ in their seed
// become one line.

const rate = { unit: percent, floor: 0, ceiling: 1 };
const CURVES = [
  { key: "success", title: "Success", label: "share of episodes", ...rate, low: "success_low", high: "success_high" },
  { key: "return", title: "Return", note: "reward minus penalties", label: "return of an episode" },
  { key: "turns", title: "Turns an episode", note: "a turn is one model call", label: "turns" },
  { key: "env_steps", title: "Environment steps an episode", label: "steps" },
  { key: "subgoals", title: "Sub-goals a blueprint", label: "sub-goals" },
  { key: "distinct_blueprints", title: "Distinct blueprints a group", note: "in phase A", label: "blueprints" },
  { key: "zero_variance", title: "Groups without variance", note: "they teach nothing", label: "share of groups", ...rate },
  { key: "sub_done", title: "Segments done", note: "ended by <sub_done>", label: "share of segments", ...rate },
  { key: "fallback", title: "Segments forced", note: "out of turns", label: "share of segments", ...rate },
  { key: "inadmissible", title: "Inadmissible actions", label: "share of turns", unit: percent, floor: 0 },
  { key: "unreadable", title: "Unreadable turns", label: "share of turns", unit: percent, floor: 0 },
  { key: "kl", title: "KL to the start", label: "nats a token", floor: 0 },
  { key: "clip", title: "Clipped tokens", label: "share of tokens", unit: percent, floor: 0 },
  { key: "grad", title: "Gradient norm", label: "norm", floor: 0 },
  { key: "entropy", title: "Entropy", label: "nats a token", floor: 0 },
  { key: "gap_max", title: "Engine/learner gap", note: "the largest", label: "|Δ log p|, nats", floor: 0 },
];
const ticked = new Map(); // phase -> whether it is drawn, where somebody has said so
const PLANNED = ["subgoals", "distinct_blueprints"]; // told of episodes that wrote their own blueprint

function curves() {
  const phases = [...new Set(RUNS.flatMap((run) => run.metrics.map((row) => row.phase)))];
  const isAtFirst = (phase) => RUNS.length === 1 || !phases.includes("eval") || phase === "eval";
  const chosen = new Set(phases.filter((phase) => ticked.get(phase) ?? isAtFirst(phase)));
  const axes = axesTold();
  if (!axes.includes(axis)) axis = "iteration";
  const place = el("div.charts");
  const draw = () =>
    place.replaceChildren(
      ...CURVES.map((curve) => chart({ ...curve, lines: linesOf(curve, chosen), below: underneath() })).filter(Boolean),
    );
  const over = select(
    "draw over",
    axes.map((key) => [key, AXES[key].name]),
    axis,
    (key) => {
      axis = key;
      draw();
    },
  );
  over.dataset.axis = "x";
  const splits = [
    ...new Set(RUNS.flatMap((run) => run.metrics.filter((row) => !isTraining(row)).map((row) => row.split))),
  ];
  const toggles = phases.map((phase) =>
    el(
      "label.key",
      el("input", {
        type: "checkbox",
        checked: chosen.has(phase),
        onchange: (event) => {
          ticked.set(phase, event.target.checked);
          if (event.target.checked) chosen.add(phase);
          else chosen.delete(phase);
          draw();
        },
      }),
      RUNS.length === 1 && !(phase === "eval" && splits.length > 1) ? sampleLine(phase) : null,
      PHASES[phase]?.long ?? phase,
    ),
  );
  draw();
  const dots =
    splits.length > 1 ? splits.map((split, i) => el("span.key", splitLine(i), `evaluation on ${split}`)) : [];
  const legend = RUNS.length > 1 ? families().map((family, i) => el("span.key", swatch(i), family.name)) : [];
  return el(
    "section",
    el("h2", "Learning curves"),
    el("div.keys", toggles, dots),
    legend.length ? el("div.keys", legend) : null,
    axes.length > 1 ? el("div.keys", over) : null,
    el(
      "p.note",
      RUNS.length > 1
        ? "Runs that differ only in their seed are one line: their mean as far as all have come, in a band " +
            "from the lowest to the highest. A lone run's success has its 95 % Wilson interval instead. " +
            "Phase B is dashed. "
        : "Phase A runs each blueprint greedily, phase B samples executions of the best one, so their levels differ. " +
            "Bands and whiskers are 95 % Wilson intervals. ",
      "A click on a point, or Enter, opens its episodes.",
      axes.length > 1 ? " Steps and tokens are exact at evaluations and estimated between them." : null,
    ),
    place,
  );
}

function sampleLine(phase) {
  const look = PHASES[phase] ?? PHASES.flat;
  const picture = svg(
    "svg",
    { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" },
    phase === "eval"
      ? svg("circle", { cx: 13, cy: 4, r: 3, class: "dot" })
      : svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "line", "stroke-dasharray": look.dash || null }),
  );
  picture.style.color = look.colour;
  return picture;
}

// Evaluations of one run: each split has its own dash and marker, filled or hollow.
const SPLITS = [
  { dash: "", marker: 0 },
  { dash: "2 3", marker: 1, hollow: true },
  { dash: "9 3 2 3", marker: 2, hollow: true },
  { dash: "9 3", marker: 3, hollow: true },
];
const splitLook = (place) => SPLITS[place % SPLITS.length];

function splitLine(place) {
  const look = splitLook(place);
  return svg(
    "svg",
    { viewBox: "0 0 34 10", width: 34, height: 10, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 34, y1: 5, y2: 5, class: "line", "stroke-dasharray": look.dash || null }),
    RUNS.length > 1 ? null : marker(look, 17, 5),
  );
}

function swatch(number) {
  const picture = svg(
    "svg",
    { viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, class: "line" }),
    marker({ marker: number }, 13, 5),
  );
  picture.style.color = familyColour(number);
  return picture;
}

// Runs that differ in their seed alone are one line (`families.py` says which).
const families = () =>
  DATA.families.map((places) => ({
    places,
    runs: places.map((place) => RUNS[place]),
    name: RUNS[places[0]].name + (places.length > 1 ? ` and ${places.length - 1} more (seeds)` : ""),
  }));
const familyColour = (i) => `var(--f${i % 6})`;

function linesOf(curve, chosen) {
  return families().flatMap((family, i) =>
    [...chosen].flatMap((phase) => phaseLines(curve, family, phase, RUNS.length > 1 ? i : null)),
  );
}

function phaseLines(curve, family, phase, number) {
  const splits =
    phase === "eval"
      ? [...new Set(family.runs.flatMap((run) => run.metrics.filter((r) => r.phase === "eval").map((r) => r.split)))]
      : [null];
  return splits.map((split, place) => {
    const told = family.runs.map((run) => run.metrics.filter((row) => isOf(row, curve, phase, split)));
    const rows = abreast(told, family.runs),
      look = PHASES[phase] ?? PHASES.flat,
      mine = phase === "eval" ? splitLook(place) : { dash: look.dash };
    const mean = (list, value) => sum(list, value) / list.length;
    const points = rows.map((list) => [
      mean(list, ({ run, row }) => along(run, row.iteration)),
      mean(list, ({ row }) => row[curve.key]),
      episodesBehind(family, list, phase, split),
    ]);
    const spread = bandOf(
      curve,
      rows.map((list) => list.map(({ row }) => row)),
      family,
    );
    const isBare = splits.length > 1 && rows.length <= 2; // before and after, and nothing known in between
    return {
      name:
        (RUNS.length > 1 ? `${family.runs[0].name}, ` : "") + (split === null ? look.name : `evaluation on ${split}`),
      colour: number === null ? look.colour : familyColour(number),
      marker: number ?? mine.marker,
      hollow: number === null ? mine.hollow : place > 0,
      dash: mine.dash,
      whiskers: phase === "eval" && (isBare || family.runs.length === 1),
      isBare,
      points,
      band: spread?.map((ends, i) => ends && [points[i][0], ...ends]).filter(Boolean),
    };
  });
}

const isOf = (row, curve, phase, split) =>
  row.phase === phase &&
  (split === null || row.split === split) &&
  isNumber(row[curve.key]) &&
  !(PLANNED.includes(curve.key) && phase === "executor");

// The rows of several runs side by side: of each iteration that all have come to, for a mean over fewer would move with
// who is in it. What was told twice, before training and after, belongs together whenever a run ended.
function abreast(told, runs) {
  const some = told.map((rows, i) => rows.map((row) => ({ row, run: runs[i] }))).filter((rows) => rows.length);
  if (!some.length) return [];
  if (some.every((rows) => rows.length <= 2)) {
    const least = Math.min(...some.map((rows) => rows.length));
    return Array.from({ length: least }, (_, i) => some.map((rows) => rows[i]));
  }
  const at = some.map((rows) => new Map(rows.map((part) => [part.row.iteration, part])));
  return [...at[0].keys()]
    .filter((iteration) => at.every((rows) => rows.has(iteration)))
    .sort((a, b) => a - b)
    .map((iteration) => at.map((rows) => rows.get(iteration)));
}

// Of the rows of each iteration, (lowest, highest); of a lone run, its interval where the curve has one.
function bandOf(curve, rows, family) {
  if (family.runs.length > 1)
    return rows.map((list) => {
      const values = list.map((row) => row[curve.key]);
      return [Math.min(...values), Math.max(...values)];
    });
  return curve.low ? rows.map(([row]) => (isNumber(row[curve.low]) ? [row[curve.low], row[curve.high]] : null)) : null;
}

const underneath = () => ({
  label: AXES[axis].label(),
  say: (x) => (axis === "iteration" ? `iteration ${brief(x)}` : axis === "time" ? AXES.time.say(x) : `${AXES[axis].say(x)} ${AXES[axis].name}`),
  isWhole: axis === "iteration",
});

// The address of the episodes that a point was made of; null where the page has none of them.
function episodesBehind(family, list, phase, split) {
  const iterations = [...new Set(list.map(({ row }) => row.iteration))];
  const has = (run) => iterations.some((iteration) => partsOf(run).has(`${iteration}/${phase}/${split ?? ""}`));
  if (!family.places.some(has)) return null;
  const asked = { iteration: iterations.join(","), phase };
  if (split !== null) asked.split = split;
  if (RUNS.length > 1) asked.run = family.places.join(",");
  return `#episodes?${new URLSearchParams(asked)}`;
}

// Which iterations, phases and, of evaluations, splits a run's kept episodes belong to.
const parted = new WeakMap();
function partsOf(run) {
  const { episodes } = RUNS[run];
  if (!parted.has(episodes))
    parted.set(
      episodes,
      new Set(episodesOf(run).map((e) => `${e.iteration}/${e.phase}/${e.phase === "eval" ? e.split : ""}`)),
    );
  return parted.get(episodes);
}
