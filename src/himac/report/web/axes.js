// What a curve is drawn over: iterations, or what training had cost by the end of each.

const AXES = {
  iteration: { name: "iterations", label: () => "iteration", of: (row) => row.iteration, say: whole },
  env_steps: { name: "environment steps", label: () => "environment steps of training", of: (row) => row.env_steps, say: whole },
  tokens: { name: "generated tokens", label: () => "tokens generated in training", of: (row) => row.tokens, say: whole },
  time: {
    name: "wall time",
    label: () => `time of iterations and evaluations, ${clock().unit}`,
    of: (row) => row.seconds / clock().seconds,
    say: (x) => `${brief(x)} ${clock().unit}`,
  },
};
let axis = "iteration";

// The axes that the runs' metrics can be drawn over.
const axesTold = () =>
  Object.keys(AXES).filter((key) => key === "iteration" || RUNS.every((run) => AXES[key].of(costs(run).at(-1)) > 0));

// Seconds, minutes or hours: one unit for the page.
function clock() {
  const longest = Math.max(...RUNS.map((run) => costs(run).at(-1).seconds));
  return longest < 180 ? { unit: "s", seconds: 1 } : longest < 10800 ? { unit: "min", seconds: 60 } : { unit: "h", seconds: 3600 };
}

// Where an iteration of a run lies on the axis.
const along = (run, iteration) => AXES[axis].of(costs(run).find((row) => row.iteration === iteration));

// By iteration: environment steps, tokens and seconds up to its end. Evaluations tell the first two exactly; between
// them, and where there are none, each iteration has its share by means times episodes, in which copies count too.
const costed = new WeakMap();
function costs(run) {
  if (!costed.has(run.metrics)) costed.set(run.metrics, summed(run.metrics));
  return costed.get(run.metrics);
}

function summed(metrics) {
  const rows = new Map([[0, { iteration: 0, env_steps: 0, tokens: 0, seconds: 0, told: {} }]]);
  let sofar = rows.get(0);
  for (const row of [...metrics].sort((a, b) => a.iteration - b.iteration)) {
    if (!rows.has(row.iteration)) rows.set(row.iteration, { ...sofar, iteration: row.iteration, told: {} });
    sofar = rows.get(row.iteration);
    if (isTraining(row)) {
      sofar.env_steps += (row.env_steps || 0) * (row.episodes || 0);
      sofar.tokens += (row.tokens || 0) * (row.episodes || 0);
      sofar.seconds += row.collect_s + row.learn_s;
    } else {
      sofar.told = { env_steps: row.total_env_steps, tokens: row.total_tokens };
      sofar.seconds += row.seconds;
    }
  }
  const list = [...rows.values()];
  for (const key of ["env_steps", "tokens"]) anchor(list, key);
  return list;
}

// Stretch the estimates between two evaluations so that they end where the evaluations say.
function anchor(list, key) {
  const guessed = list.map((row) => row[key]);
  let [from, scale] = [0, 1];
  list[0][key] = list[0].told[key] ?? 0;
  for (let to = 1; to <= list.length; to++) {
    const isTold = to < list.length && isNumber(list[to].told[key]);
    if (!isTold && to < list.length) continue;
    const end = Math.min(to, list.length - 1),
      grown = guessed[end] - guessed[from];
    if (isTold && grown > 0) scale = (list[end].told[key] - list[from][key]) / grown;
    for (let i = from + 1; i <= end; i++) list[i][key] = list[from][key] + scale * (guessed[i] - guessed[from]);
    if (isTold) list[end][key] = list[end].told[key];
    from = end;
  }
}
