// The page of a run (or of several over one another): what was run, whether it learned, what it cost.

function runPage(main) {
  if (RUNS.length === 1) return fill(main, [summary(RUNS[0]), curves(), details(RUNS[0]), colophon()]);
  return fill(main, [
    el("h1", `${RUNS.length} runs`),
    el("p.lead", RUNS.map((run) => run.name).join(", ")),
    comparison(),
    differences(),
    curves(),
    el("h2", "Each run"),
    RUNS.map((run) => el("details.run", { "data-kept": run.name }, el("summary", el("b", run.name)), summary(run), details(run))),
    colophon(),
  ]);
}

const details = (run) => [timeSplit(run), kinds(run), savedEvaluations(run), settings(run)];

// Of training: as the last evaluation tells them; copies of one execution, which the phases count as episodes, took none.
function environmentSteps(run) {
  const told = run.metrics.findLast((row) => isNumber(row.total_env_steps));
  return told?.total_env_steps ?? sum(run.metrics.filter(isTraining), (row) => row.env_steps * row.episodes);
}

function summary(run) {
  const points = run.metrics.filter((row) => row.phase === "eval");
  const split = points.at(-1)?.split,
    same = points.filter((row) => row.split === split);
  const [first, last] = [same[0], same.at(-1)];
  const best = same.reduce((a, b) => (a && a.success >= b.success ? a : b), null);
  const facts = [
    ["iterations", whole(Math.max(0, ...run.metrics.map((row) => row.iteration)))],
    ["episodes written", whole(run.total)],
    [timeName(run), duration(spent(run))],
    ...(isNumber(startTime(run)) ? [["time of the warm start before them", duration(startTime(run))]] : []),
    ["generated tokens", whole(sum(run.metrics.filter(isTraining), (row) => row.tokens * row.episodes))],
    ["environment steps", whole(environmentSteps(run))],
  ];
  return el(
    "section.summary",
    RUNS.length === 1 ? el("h1", run.name) : null,
    el("p.lead", lead(run)),
    last &&
      el(
        "div.headline",
        bigNumber(first === last ? `success on ${split}` : `${split}, iteration ${first.iteration}`, first),
        first !== last && el("span.arrow", { "aria-hidden": "true" }, "→"),
        first !== last && bigNumber(`${split}, iteration ${last.iteration}`, last),
        best && best !== last && best !== first && bigNumber(`best, iteration ${best.iteration}`, best, "dim"),
      ),
    el(
      "dl.facts",
      facts.map(([name, value]) => el("div", el("dt", name), el("dd", value))),
    ),
  );
}

function bigNumber(label, row, extra) {
  return el(
    extra ? `div.big.${extra}` : "div.big",
    el("span.label", label),
    el("strong", percent(row.success)),
    el(
      "span.label",
      `95 % interval ${percent(row.success_low)} to ${percent(row.success_high)}, ${whole(row.episodes)} tasks`,
    ),
  );
}

function lead(run) {
  const of = (key) => JSON.parse(run.settings.find((row) => row[0] === key)?.[3] || "null");
  const method = of("algo.method") === "flat" ? "A flat agent" : "HiMAC";
  const world = of("env.name") ?? episodeWorld(run);
  const model = of("model.name");
  const overlap = run.machine.world?.splits_overlap
    ? " Careful: the world says that its splits overlap: tasks of the evaluation may be among those trained on."
    : "";
  const parts = [method, world && ` on ${world}`, model && `, starting from ${model.split("/").slice(-2).join("/")}`].filter(Boolean);
  return `${parts.join("")}. Seed ${of("run.seed") ?? 0}.${overlap}`;
}
const episodeWorld = (run) => run.world || run.evaluations[0]?.env;

const isTraining = (row) => row.phase !== "eval";
const sum = (rows, value) => rows.reduce((total, row) => total + (value(row) || 0), 0);
// Seconds of the warm start that the run made itself; undefined where it made none, or where its files do not tell.
const startTime = (run) => (run.warm ? run.machine.warm_start_s : undefined);
const isUntimed = (run) => run.warm && !isNumber(startTime(run));
const timeName = (run) => `time of iterations and evaluations${isUntimed(run) ? ", warm start not counted" : ""}`;
const spent = (run) => sum(run.metrics, (row) => (isTraining(row) ? row.collect_s + row.learn_s : row.seconds));

function comparison() {
  const rows = families().flatMap(({ runs, name }) => [
    ...runs.flatMap((run) =>
      lastEvaluations(run).map((row) => [
        run.name,
        row.split,
        row.iteration,
        percent(row.success),
        interval(row),
        brief(row.return),
        brief(row.env_steps),
        brief(row.tokens),
        whole(row.total_env_steps),
        whole(row.total_tokens),
        duration(spent(run)),
      ]),
    ),
    ...overSeeds(runs, name),
  ]);
  return el(
    "section",
    el("h2", "Compared"),
    el(
      "p.note",
      "The last evaluation of each run on each split. " +
        "Compare at equal environment steps and tokens, not only at equal iterations. Time is of iterations and evaluations",
      RUNS.some((run) => run.warm) ? "; a warm start is not counted, and told with each run." : ".",
    ),
    table(
      [
        "run",
        "split",
        "iteration",
        "success",
        "95 % interval",
        "return",
        "steps",
        "tokens",
        "training steps",
        "training tokens",
        "time",
      ],
      rows,
      "Comparison of runs",
    ),
  );
}

// The mean over runs that differ in their seed alone, with the lowest and the highest: a line a split.
function overSeeds(runs, name) {
  const splits = [...new Set(runs.flatMap((run) => lastEvaluations(run).map((row) => row.split)))];
  return runs.length < 2
    ? []
    : splits.map((split) => {
        const rows = runs.flatMap((run) => lastEvaluations(run).filter((row) => row.split === split)),
          values = rows.map((row) => row.success);
        const mean = (key) => sum(rows, (row) => row[key]) / rows.length;
        return [
          el("b", `mean of ${rows.length} seeds: ${name}`),
          split,
          "",
          el("b", percent(mean("success"))),
          `lowest ${percent(Math.min(...values))}, highest ${percent(Math.max(...values))}`,
          brief(mean("return")),
          brief(mean("env_steps")),
          brief(mean("tokens")),
          whole(mean("total_env_steps")),
          whole(mean("total_tokens")),
          "",
        ];
      });
}

// Settings in which the runs differ from one another.
const OF_RUN = ["run.name", "run.dir", "run.seed"];
function differences() {
  const keys = [...new Set(RUNS.flatMap((run) => run.settings.map((row) => row[0])))].filter(
    (key) => !OF_RUN.includes(key),
  );
  const standard = (key) => RUNS.flatMap((run) => run.settings).find((row) => row[0] === key)[1];
  const value = (run, key) => run.settings.find((row) => row[0] === key)?.[3] ?? (standard(key) || "–");
  const rows = keys
    .map((key) => [key, ...RUNS.map((run) => value(run, key))])
    .filter(([, ...values]) => new Set(values).size > 1);
  return el(
    "section",
    el("h2", "What differs"),
    rows.length
      ? table(
          ["setting", ...RUNS.map((run) => run.name)],
          rows.map(([key, ...rest]) => [el("code", key), ...rest]),
          "Settings in which the runs differ",
        )
      : el("p.note", "The runs differ in nothing but their seed."),
  );
}

// The last of each split; what was evaluated before training alone is left out once there is something later.
function lastEvaluations(run) {
  const bySplit = new Map();
  for (const row of run.metrics) if (row.phase === "eval") bySplit.set(row.split, row);
  const rows = [...bySplit.values()],
    later = rows.filter((row) => row.iteration > 0);
  return later.length ? later : rows;
}

function timeSplit(run) {
  const rows = run.metrics.filter(isTraining);
  if (!rows.length) return null;
  const parts = [
    ["generation", sum(rows, (r) => r.generate_s)],
    ["environments", sum(rows, (r) => r.env_s)],
    ["rest of collecting", sum(rows, (r) => Math.max(0, r.collect_s - r.generate_s - r.env_s))],
    ["warm start", startTime(run) ?? 0],
    ["training", sum(rows, (r) => r.learn_s)],
    [
      "evaluation",
      sum(
        run.metrics.filter((r) => !isTraining(r)),
        (r) => r.seconds,
      ),
    ],
  ].filter((part) => part[1] > 0);
  const total = sum(parts, (part) => part[1]);
  return el(
    "section",
    heading("Where the time went"),
    isUntimed(run)
      ? el("p.note", "From the first iteration on: the run's files do not tell how long its warm start took.")
      : null,
    el(
      "div.split",
      { role: "img", "aria-label": parts.map(([n, s]) => `${n} ${percent(s / total)}`).join(", ") },
      parts.map(([, s], i) => el(`span.part.p${i}`, { css: { "flex-grow": s } })),
    ),
    el(
      "ul.plain.keys",
      parts.map(([name, s], i) => el("li.key", el(`i.part.p${i}`), `${name} ${duration(s)} (${percent(s / total)})`)),
    ),
  );
}

const heading = (text) => el(RUNS.length > 1 ? "h3" : "h2", text);

function kinds(run) {
  const last = lastEvaluations(run).filter((row) => row.kinds);
  return last.length
    ? el(
        "section",
        heading("By task type"),
        last.map((row) => kindTable(row, `${row.split}, iteration ${row.iteration}`)),
      )
    : null;
}

function kindTable(row, name) {
  const lines = Object.entries(row.kinds).map(([kind, part]) => [
    kind,
    whole(part.episodes),
    percent(part.success),
    interval(part),
    brief(part.return),
    brief(part.env_steps),
  ]);
  return el(
    "div",
    el("h3", name),
    table(["task type", "tasks", "success", "95 % interval", "return", "steps"], lines, `Task types of ${name}`),
  );
}

function savedEvaluations(run) {
  if (!run.evaluations.length) return null;
  const lines = run.evaluations.map((row) => [
    row.file,
    row.split ?? "",
    whole(row.episodes),
    percent(row.success),
    interval(row),
    brief(row.env_steps),
    brief(row.tokens),
  ]);
  return el(
    "section",
    heading("Saved evaluations"),
    table(["file", "split", "tasks", "success", "95 % interval", "steps", "tokens"], lines, "Saved evaluations"),
  );
}

function settings(run) {
  const lines = run.settings.map(([key, standard, recipe, own]) => [
    el("code", key),
    recipe && recipe !== own ? el("b", own) : own,
    recipe || "–",
    standard || "–",
  ]);
  return el(
    "section",
    heading("Settings"),
    el("p.note", "What differs from the defaults or the recipe. Bold: the command line overrode the recipe."),
    table(["setting", "this run", "recipe", "default"], lines, "Settings"),
    Object.keys(run.machine).length
      ? el(
          "dl.facts",
          Object.entries(run.machine).map(([k, v]) =>
            el("div", el("dt", k), el("dd", typeof v === "object" ? JSON.stringify(v) : v)),
          ),
        )
      : null,
  );
}

function colophon() {
  return el(
    "footer.note",
    RUNS.map((run) => el("p", RUNS.length > 1 ? `${run.name}: ` : "", run.rule)),
    el("p", `Made ${DATA.made} with himac ${DATA.himac}.`),
  );
}
