// The learning curves of a run, or of several over one another: which, whose, and how runs that differ in their seed
// become one line.

const rate = { unit: percent, floor: 0, ceiling: 1 };
const CURVES = [
  { key: "success", title: "Success", ...rate, low: "success_low", high: "success_high" },
  { key: "return", title: "Return", note: "reward minus penalties" },
  { key: "turns", title: "Turns an episode", note: "a turn is one model call" },
  { key: "env_steps", title: "Environment steps an episode" },
  { key: "subgoals", title: "Sub-goals a blueprint" },
  { key: "distinct_blueprints", title: "Distinct blueprints a group", note: "in phase A" },
  { key: "zero_variance", title: "Groups without variance", note: "they teach nothing", ...rate },
  { key: "sub_done", title: "Segments done", note: "ended by <sub_done>", ...rate },
  { key: "fallback", title: "Segments forced", note: "out of turns", ...rate },
  { key: "inadmissible", title: "Inadmissible actions", unit: percent, floor: 0 },
  { key: "unreadable", title: "Unreadable turns", unit: percent, floor: 0 },
  { key: "kl", title: "KL to the start", floor: 0 },
  { key: "clip", title: "Clipped tokens", unit: percent, floor: 0 },
  { key: "grad", title: "Gradient norm", floor: 0 },
  { key: "entropy", title: "Entropy", note: "nats a token", floor: 0 },
  { key: "gap_max", title: "Engine/learner gap", note: "largest |Δ log p|", floor: 0 },
];
const PLANNED = ["subgoals", "distinct_blueprints"]; // told of episodes that wrote their own blueprint

function curves() {
  const phases = [...new Set(RUNS.flatMap((run) => run.metrics.map((row) => row.phase)))];
  const chosen = new Set(RUNS.length > 1 && phases.includes("eval") ? ["eval"] : phases);
  const place = el("div.charts");
  const draw = () =>
    place.replaceChildren(
      ...CURVES.map((curve) => chart({ ...curve, lines: linesOf(curve, chosen) })).filter(Boolean),
    );
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
    splits.length > 1 ? splits.map((split, i) => el("span.key", dotOf(i > 0), `evaluation on ${split}`)) : [];
  const legend = RUNS.length > 1 ? families().map((family, i) => el("span.key", swatch(i), family.name)) : [];
  return el(
    "section",
    el("h2", "Learning curves"),
    el("div.keys", toggles, dots),
    el("div.keys", legend),
    el(
      "p.note",
      RUNS.length > 1
        ? "Runs that differ only in their seed are one line, their mean, in a band from the lowest to the highest; " +
            "a lone run's success has its 95 % band. Phase B is dashed, evaluations are points."
        : "Phase A runs each blueprint greedily, phase B samples executions of the best one, so their levels differ. " +
            "Bands and whiskers are 95 % Wilson intervals.",
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

const dotOf = (hollow) =>
  svg("svg", { viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" }, marker({ hollow }, 5, 5));

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

const OF_RUN = ["run.name", "run.dir", "run.seed"];

// Runs whose settings agree but for name, folder and seed; a start of their own that carries the seed's number is
// the same.
function families() {
  const found = new Map();
  RUNS.forEach((run) => {
    const seed = run.settings.find((row) => row[0] === "run.seed")?.[3] ?? "0";
    const plain = ([key, , , own]) => [
      key,
      key === "model.name" && /\/start\/?"$/.test(own)
        ? own.replace(new RegExp(`(?<!\\d)${Number(seed)}(?!\\d)`, "g"), "#")
        : own,
    ];
    const key = JSON.stringify(run.settings.filter((row) => !OF_RUN.includes(row[0])).map(plain));
    found.set(key, [...(found.get(key) ?? []), run]);
  });
  return [...found.values()].map((runs) => ({
    runs,
    name: runs.length > 1 ? `${runs[0].name} and ${runs.length - 1} more (seeds)` : runs[0].name,
  }));
}
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
    const at = new Map();
    for (const run of family.runs)
      for (const row of run.metrics) {
        const told = isNumber(row[curve.key]) && !(PLANNED.includes(curve.key) && phase === "executor");
        if (row.phase === phase && (split === null || row.split === split) && told)
          at.set(row.iteration, [...(at.get(row.iteration) ?? []), row]);
      }
    const rows = [...at].sort((a, b) => a[0] - b[0]),
      look = PHASES[phase] ?? PHASES.flat;
    return {
      name:
        (RUNS.length > 1 ? `${family.runs[0].name}, ` : "") + (split === null ? look.name : `evaluation on ${split}`),
      colour: number === null ? look.colour : familyColour(number),
      marker: number,
      hollow: place > 0,
      dash: look.dash,
      whiskers: phase === "eval",
      isBare: splits.length > 1 && rows.length <= 2, // before and after: two points, and nothing known in between
      points: rows.map(([x, list]) => [x, sum(list, (row) => row[curve.key]) / list.length]),
      band: bandOf(curve, rows, family),
    };
  });
}

function bandOf(curve, rows, family) {
  if (family.runs.length > 1)
    return rows.map(([x, list]) => [
      x,
      Math.min(...list.map((r) => r[curve.key])),
      Math.max(...list.map((r) => r[curve.key])),
    ]);
  return curve.low
    ? rows
        .filter(([, list]) => isNumber(list[0][curve.low]))
        .map(([x, list]) => [x, list[0][curve.low], list[0][curve.high]])
    : null;
}
