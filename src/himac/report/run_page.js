// The page of a run (or of several over one another): what was run, whether it learned, what it cost.

const rate = { unit: percent, floor: 0, ceiling: 1 };
const CURVES = [
  { key: "success", title: "Success", ...rate, low: "success_low", high: "success_high" },
  { key: "return", title: "Return", note: "reward minus penalties" },
  { key: "turns", title: "Model calls an episode" },
  { key: "env_steps", title: "Environment steps an episode" },
  { key: "subgoals", title: "Sub-goals a blueprint" },
  { key: "distinct_blueprints", title: "Distinct blueprints a group", note: "in phase A" },
  { key: "zero_variance", title: "Groups without variance", note: "they teach nothing", ...rate },
  { key: "sub_done", title: "Segments ended by <sub_done>", ...rate },
  { key: "fallback", title: "Segments ended by the budget", ...rate },
  { key: "inadmissible", title: "Inadmissible actions", unit: percent, floor: 0 },
  { key: "unreadable", title: "Unreadable turns", unit: percent, floor: 0 },
  { key: "kl", title: "KL to the start", floor: 0 },
  { key: "clip", title: "Clipped tokens", unit: percent, floor: 0 },
  { key: "grad", title: "Gradient norm", floor: 0 },
  { key: "entropy", title: "Entropy", note: "nats a token", floor: 0 },
  { key: "gap_max", title: "Engine/learner gap", note: "largest |Δ log p|", floor: 0 },
];
const PLANNED = ["subgoals", "distinct_blueprints"]; // told of episodes that wrote their own blueprint

function runPage(main) {
  if (RUNS.length === 1) return fill(main, [summary(RUNS[0]), curves(), details(RUNS[0]), colophon()]);
  return fill(main, [el("h1", `${RUNS.length} runs`), el("p.lead", RUNS.map((run) => run.name).join(", ")), comparison(), differences(), curves(),
    el("h2", "Each run"), RUNS.map((run) => el("details.run", el("summary", el("b", run.name)), summary(run), details(run))), colophon()]);
}

const details = (run) => [timeSplit(run), kinds(run), savedEvaluations(run), settings(run)];

function summary(run) {
  const points = run.metrics.filter((row) => row.phase === "eval");
  const split = points.at(-1)?.split, same = points.filter((row) => row.split === split);
  const [first, last] = [same[0], same.at(-1)];
  const best = same.reduce((a, b) => (a && a.success >= b.success ? a : b), null);
  const facts = [
    ["iterations", whole(Math.max(0, ...run.metrics.map((row) => row.iteration)))],
    ["episodes written", whole(run.total)],
    ["time", duration(spent(run))],
    ["generated tokens", whole(sum(run.metrics.filter(isTraining), (row) => row.tokens * row.episodes))],
    ["environment steps", whole(sum(run.metrics.filter(isTraining), (row) => row.env_steps * row.episodes))],
  ];
  return el("section.summary",
    RUNS.length === 1 ? el("h1", run.name) : null,
    el("p.lead", lead(run)),
    last && el("div.headline",
      bigNumber(first === last ? `success on ${split}` : `${split}, iteration ${first.iteration}`, first),
      first !== last && el("span.arrow", { "aria-hidden": "true" }, "→"),
      first !== last && bigNumber(`${split}, iteration ${last.iteration}`, last),
      best && best !== last && best !== first && bigNumber(`best, iteration ${best.iteration}`, best, "dim")),
    el("dl.facts", facts.map(([name, value]) => el("div", el("dt", name), el("dd", value)))));
}

function bigNumber(label, row, extra) {
  return el(extra ? `div.big.${extra}` : "div.big", el("span.label", label), el("strong", percent(row.success)),
    el("span.label", `95 % interval ${percent(row.success_low)} to ${percent(row.success_high)}, ${whole(row.episodes)} tasks`));
}

function lead(run) {
  const of = (key) => JSON.parse(run.settings.find((row) => row[0] === key)?.[3] || "null");
  const method = of("algo.method") === "flat" ? "A flat agent" : "HiMAC";
  const world = of("env.name") ?? episodeWorld(run);
  const model = of("model.name");
  const overlap = run.machine.world?.splits_overlap ? " Careful: under this protocol the splits overlap; goals of the evaluation are also trained on." : "";
  return `${method}${world ? ` on ${world}` : ""}${model ? `, starting from ${model}` : ""}. Seed ${of("run.seed") ?? 0}.${overlap}`;
}
const episodeWorld = (run) => run.world || run.evaluations[0]?.env;

const isTraining = (row) => row.phase !== "eval";
const sum = (rows, value) => rows.reduce((total, row) => total + (value(row) || 0), 0);
const spent = (run) => sum(run.metrics, (row) => (isTraining(row) ? row.collect_s + row.learn_s : row.seconds));

function comparison() {
  const rows = families().flatMap(({ runs, name }) => [...runs.flatMap((run) => lastEvaluations(run).map((row) => [run.name, row.split, row.iteration,
    percent(row.success), `${percent(row.success_low)} – ${percent(row.success_high)}`, brief(row.return),
    brief(row.env_steps), brief(row.tokens), whole(row.total_env_steps), whole(row.total_tokens), duration(spent(run))])), ...overSeeds(runs, name)]);
  return el("section", el("h2", "Compared"), el("p.note", "The last evaluation of each run on each split. Compare at equal environment steps and tokens, not only at equal iterations."),
    table(["run", "split", "iteration", "success", "95 % interval", "return", "steps", "tokens", "training steps", "training tokens", "time"], rows, "Comparison of runs"));
}

// The mean over runs that differ in their seed alone, with the lowest and the highest: a line a split.
function overSeeds(runs, name) {
  const splits = [...new Set(runs.flatMap((run) => lastEvaluations(run).map((row) => row.split)))];
  return runs.length < 2 ? [] : splits.map((split) => {
    const rows = runs.flatMap((run) => lastEvaluations(run).filter((row) => row.split === split)), values = rows.map((row) => row.success);
    const mean = (key) => sum(rows, (row) => row[key]) / rows.length;
    return [el("b", `mean of ${rows.length} seeds: ${name}`), split, "", el("b", percent(mean("success"))), `lowest ${percent(Math.min(...values))}, highest ${percent(Math.max(...values))}`,
      brief(mean("return")), brief(mean("env_steps")), brief(mean("tokens")), whole(mean("total_env_steps")), whole(mean("total_tokens")), ""];
  });
}

// Settings in which the runs differ from one another.
function differences() {
  const keys = [...new Set(RUNS.flatMap((run) => run.settings.map((row) => row[0])))].filter((key) => !OF_RUN.includes(key));
  const standard = (key) => RUNS.flatMap((run) => run.settings).find((row) => row[0] === key)[1];
  const value = (run, key) => run.settings.find((row) => row[0] === key)?.[3] ?? (standard(key) || "–");
  const rows = keys.map((key) => [key, ...RUNS.map((run) => value(run, key))]).filter(([, ...values]) => new Set(values).size > 1);
  return el("section", el("h2", "What differs"), rows.length ? table(["setting", ...RUNS.map((run) => run.name)], rows.map(([key, ...rest]) => [el("code", key), ...rest]), "Settings in which the runs differ")
    : el("p.note", "The runs differ in nothing but their seed."));
}

// The last of each split; what was evaluated before training alone is left out once there is something later.
function lastEvaluations(run) {
  const bySplit = new Map();
  for (const row of run.metrics) if (row.phase === "eval") bySplit.set(row.split, row);
  const rows = [...bySplit.values()], later = rows.filter((row) => row.iteration > 0);
  return later.length ? later : rows;
}

function curves() {
  const phases = [...new Set(RUNS.flatMap((run) => run.metrics.map((row) => row.phase)))];
  const chosen = new Set(RUNS.length > 1 && phases.includes("eval") ? ["eval"] : phases);
  const place = el("div.charts");
  const draw = () => place.replaceChildren(...CURVES.map((curve) => chart({ ...curve, lines: linesOf(curve, chosen) })).filter(Boolean));
  const splits = [...new Set(RUNS.flatMap((run) => run.metrics.filter((row) => !isTraining(row)).map((row) => row.split)))];
  const toggles = phases.map((phase) => el("label.key", el("input", { type: "checkbox", checked: chosen.has(phase), onchange: (event) => {
    if (event.target.checked) chosen.add(phase); else chosen.delete(phase);
    draw();
  } }), RUNS.length === 1 && !(phase === "eval" && splits.length > 1) ? sampleLine(phase) : null, PHASES[phase]?.long ?? phase));
  draw();
  const dots = splits.length > 1 ? splits.map((split, i) => el("span.key", dotOf(i > 0), `evaluation on ${split}`)) : [];
  const legend = RUNS.length > 1 ? families().map((family, i) => el("span.key", swatch(i), family.name)) : [];
  return el("section", el("h2", "Learning curves"), el("div.keys", toggles, dots), el("div.keys", legend),
    el("p.note", RUNS.length > 1
      ? "Runs that differ only in their seed are one line, their mean, in a band from the lowest to the highest; a lone run's success has its 95 % band. Phase B is dashed, evaluations are points."
      : "Phase A runs each blueprint greedily, phase B samples executions of the best one, so their levels differ. Bands and whiskers are 95 % Wilson intervals."),
    place);
}

function sampleLine(phase) {
  const look = PHASES[phase] ?? PHASES.flat;
  const picture = svg("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" },
    phase === "eval" ? svg("circle", { cx: 13, cy: 4, r: 3, class: "dot" })
      : svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "line", "stroke-dasharray": look.dash || null }));
  picture.style.color = look.colour;
  return picture;
}

const dotOf = (hollow) => svg("svg", { viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" }, marker({ hollow }, 5, 5));

function swatch(number) {
  const picture = svg("svg", { viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, class: "line" }), marker({ marker: number }, 13, 5));
  picture.style.color = familyColour(number);
  return picture;
}

const OF_RUN = ["run.name", "run.dir", "run.seed"];

// Runs whose settings agree but for name, folder and seed; a start of their own that carries the seed's number is the same.
function families() {
  const found = new Map();
  RUNS.forEach((run) => {
    const seed = run.settings.find((row) => row[0] === "run.seed")?.[3] ?? "0";
    const plain = ([key, , , own]) => [key, key === "model.name" && /\/start\/?"$/.test(own) ? own.replace(new RegExp(`(?<!\\d)${Number(seed)}(?!\\d)`, "g"), "#") : own];
    const key = JSON.stringify(run.settings.filter((row) => !OF_RUN.includes(row[0])).map(plain));
    found.set(key, [...(found.get(key) ?? []), run]);
  });
  return [...found.values()].map((runs) => ({ runs, name: runs.length > 1 ? `${runs[0].name} and ${runs.length - 1} more (seeds)` : runs[0].name }));
}
const familyColour = (i) => `var(--f${i % 6})`;

function linesOf(curve, chosen) {
  return families().flatMap((family, i) => [...chosen].flatMap((phase) => phaseLines(curve, family, phase, RUNS.length > 1 ? i : null)));
}

function phaseLines(curve, family, phase, number) {
  const splits = phase === "eval" ? [...new Set(family.runs.flatMap((run) => run.metrics.filter((r) => r.phase === "eval").map((r) => r.split)))] : [null];
  return splits.map((split, place) => {
    const at = new Map();
    for (const run of family.runs) for (const row of run.metrics) {
      const told = isNumber(row[curve.key]) && !(PLANNED.includes(curve.key) && phase === "micro");
      if (row.phase === phase && (split === null || row.split === split) && told) at.set(row.iteration, [...(at.get(row.iteration) ?? []), row]);
    }
    const rows = [...at].sort((a, b) => a[0] - b[0]), look = PHASES[phase] ?? PHASES.flat;
    return { name: (RUNS.length > 1 ? `${family.runs[0].name}, ` : "") + (split === null ? look.name : `evaluation on ${split}`),
      colour: number === null ? look.colour : familyColour(number), marker: number, hollow: place > 0, dash: look.dash, whiskers: phase === "eval",
      points: rows.map(([x, list]) => [x, sum(list, (row) => row[curve.key]) / list.length]), band: bandOf(curve, rows, family) };
  });
}

function bandOf(curve, rows, family) {
  if (family.runs.length > 1) return rows.map(([x, list]) => [x, Math.min(...list.map((r) => r[curve.key])), Math.max(...list.map((r) => r[curve.key]))]);
  return curve.low ? rows.filter(([, list]) => isNumber(list[0][curve.low])).map(([x, list]) => [x, list[0][curve.low], list[0][curve.high]]) : null;
}

function timeSplit(run) {
  const rows = run.metrics.filter(isTraining);
  if (!rows.length) return null;
  const parts = [
    ["generation", sum(rows, (r) => r.generate_s)],
    ["environments", sum(rows, (r) => r.env_s)],
    ["rest of collecting", sum(rows, (r) => Math.max(0, r.collect_s - r.generate_s - r.env_s))],
    ["training", sum(rows, (r) => r.learn_s)],
    ["evaluation", sum(run.metrics.filter((r) => !isTraining(r)), (r) => r.seconds)],
  ].filter((part) => part[1] > 0);
  const total = sum(parts, (part) => part[1]);
  return el("section", heading("Where the time went"),
    el("div.split", { role: "img", "aria-label": parts.map(([n, s]) => `${n} ${percent(s / total)}`).join(", ") },
      parts.map(([, s], i) => el(`span.part.p${i}`, { css: { "flex-grow": s } }))),
    el("ul.plain.keys", parts.map(([name, s], i) => el("li.key", el(`i.part.p${i}`), `${name} ${duration(s)} (${percent(s / total)})`))));
}

const heading = (text) => el(RUNS.length > 1 ? "h3" : "h2", text);

function kinds(run) {
  const last = lastEvaluations(run).filter((row) => row.kinds);
  return last.length ? el("section", heading("By task type"), last.map((row) => kindTable(row, `${row.split}, iteration ${row.iteration}`))) : null;
}

function kindTable(row, name) {
  const lines = Object.entries(row.kinds).map(([kind, part]) => [kind, whole(part.episodes), percent(part.success),
    `${percent(part.success_low)} – ${percent(part.success_high)}`, brief(part.return), brief(part.env_steps)]);
  return el("div", el("h3", name), table(["task type", "tasks", "success", "95 % interval", "return", "steps"], lines, `Task types of ${name}`));
}

function savedEvaluations(run) {
  if (!run.evaluations.length) return null;
  const lines = run.evaluations.map((row) => [row.file, row.split ?? "", whole(row.episodes), percent(row.success),
    `${percent(row.success_low)} – ${percent(row.success_high)}`, brief(row.env_steps), brief(row.tokens)]);
  return el("section", heading("Saved evaluations"),
    table(["file", "split", "tasks", "success", "95 % interval", "steps", "tokens"], lines, "Saved evaluations"));
}

function settings(run) {
  const lines = run.settings.map(([key, standard, recipe, own]) => [el("code", key), recipe && recipe !== own ? el("b", own) : own,
    recipe || "–", standard || "–"]);
  return el("section", heading("Settings"),
    el("p.note", "What differs from the defaults or the recipe. Bold: the command line overrode the recipe."),
    table(["setting", "this run", "recipe", "default"], lines, "Settings"),
    Object.keys(run.machine).length ? el("dl.facts", Object.entries(run.machine).map(([k, v]) => el("div", el("dt", k), el("dd", typeof v === "object" ? JSON.stringify(v) : v)))) : null);
}

function colophon() {
  return el("footer.note", RUNS.map((run) => el("p", RUNS.length > 1 ? `${run.name}: ` : "", run.rule)), el("p", `Made ${DATA.made} with himac ${DATA.himac}.`));
}
