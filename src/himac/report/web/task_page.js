// Tasks that are evaluated again and again: which were learned and which were lost, and how one task's blueprint changed
// from one evaluation to the next.

// Every task of a run that was evaluated more than once: {split, index, kind, at: [[iteration, episodes], ...]}.
const careers = new WeakMap(); // by what the page holds of a run: a live page takes another
function careersOf(run) {
  const held = RUNS[run].episodes;
  if (careers.has(held)) return careers.get(held);
  const tasks = new Map();
  for (const e of episodesOf(run)) {
    if (e.phase !== "eval") continue;
    const key = `${e.split}/${e.index}`;
    if (!tasks.has(key)) tasks.set(key, { split: e.split, index: e.index, kind: e.kind, at: new Map() });
    const at = tasks.get(key).at;
    at.set(e.iteration, [...(at.get(e.iteration) ?? []), e]);
  }
  const found = [...tasks.values()]
    .filter((task) => task.at.size > 1)
    .map((task) => ({ ...task, at: [...task.at].sort(([a], [b]) => a - b) }))
    .sort((a, b) => (a.split < b.split ? -1 : a.split > b.split ? 1 : a.index - b.index));
  careers.set(held, found);
  return found;
}

const solvedShare = (episodes) => sum(episodes, (e) => e.success) / episodes.length;
const FATES = [
  ["Learned", "not solved at the first evaluation, solved at the last", (first, last) => first < last],
  ["Lost", "solved at the first evaluation, not at the last", (first, last) => first > last],
  ["Not solved", "neither at the first nor at the last", (first, last) => first === last && last < 1],
  ["Solved", "at the first evaluation and at the last", (first, last) => first === last && last === 1],
];

// How a run's tasks began and ended: of all of them where its evaluations tell, else of those whose episodes are shown.
function fatesOf(place, tasks) {
  const ends = new Map(),
    told = RUNS[place].fates;
  for (const [split, { index, first, last }] of Object.entries(told))
    index.forEach((at, i) => ends.set(`${split}/${at}`, [Number(first[i]), Number(last[i])]));
  for (const { split, index, at } of tasks)
    if (!told[split]) ends.set(`${split}/${index}`, [solvedShare(at[0][1]), solvedShare(at.at(-1)[1])]);
  return ends;
}

function tasksPage(main) {
  main.append(
    el("h1", "Tasks"),
    el("p.note", "The same tasks come at every evaluation. A task's page has its blueprint at each, and what changed."),
  );
  RUNS.forEach((run, place) => {
    const tasks = careersOf(place);
    if (!tasks.length) return;
    const ends = fatesOf(place, tasks);
    if (RUNS.length > 1) main.append(el("h2", run.name));
    main.append(el("p.note.counted", countedOf(run, ends.size, tasks)));
    for (const [name, meaning, is] of FATES) {
      const count = [...ends.values()].filter(([first, last]) => is(first, last)).length;
      const own = tasks.filter(({ split, index }) => {
        const end = ends.get(`${split}/${index}`);
        return end && is(...end);
      });
      if (count) main.append(fateSection(place, name, meaning, own, count));
    }
  });
  if (!RUNS.some((_, run) => careersOf(run).length)) main.append(el("p.empty", "No task was evaluated twice."));
}

// What the numbers beside the headings count.
function countedOf(run, count, tasks) {
  const isSample = run.episodes.rows.length < run.total;
  if (tasks.some(({ split }) => !run.fates[split]) && isSample)
    return "The run's evaluations do not tell of single tasks: counted are the tasks whose episodes are shown, from their first evaluation shown to their last.";
  const all = `Counted ${count === 1 ? "is the task" : `are all ${whole(count)} tasks`} evaluated more than once`;
  return tasks.length < count ? `${all}; listed are the ${whole(tasks.length)} whose episodes are shown.` : `${all}.`;
}

function fateSection(run, name, meaning, tasks, count) {
  const list = el("ol.groups.careers"),
    more = el("button", { type: "button" }, "show more");
  let shown = 0;
  const grow = () => {
    list.append(...tasks.slice(shown, shown + PAGE).map((task) => careerLine(run, task)));
    shown = Math.min(shown + PAGE, tasks.length);
    more.hidden = shown === tasks.length;
    more.textContent = `show more (${whole(tasks.length - shown)} left)`;
  };
  more.addEventListener("click", grow);
  grow();
  const listed = tasks.length < count ? ` · ${tasks.length ? whole(tasks.length) : "none"} listed` : "";
  return el("section", el("h2", `${name}: ${whole(count)}`), el("p.note", `${meaning}${listed}`), list, more);
}

function careerLine(run, task) {
  const [, [first]] = task.at[0];
  return el(
    "li",
    el(
      "span",
      el("a", { href: `#task/${run}/${first.id}` }, `${task.split} ${task.index}`),
      task.kind ? el("span.kind", ` ${task.kind}`) : null,
    ),
    el(
      "span.marks",
      task.at.flatMap(([iteration, episodes]) => episodes.map((e) => point(e, iteration))),
    ),
  );
}

function point(e, iteration, href = `#episode/${e.run}/${e.id}`) {
  const what = `iteration ${iteration}: ${e.success ? "success" : words(e.stop)}, return ${brief(e.return)}`;
  return el(
    e.success ? "a.mark.won" : "a.mark",
    { href, title: what, "aria-label": what },
    isNumber(e.return) ? e.return.toFixed(1).replace("-", "−") : "?",
  );
}

async function taskPage(main, run, id) {
  const e = episodeAt(run, id),
    all = careersOf(run),
    place = all.findIndex((task) => task.split === e.split && task.index === e.index);
  if (place < 0) {
    main.append(el("p.empty", "This task was evaluated once: there is no change to show."));
    return;
  }
  const task = all[place];
  const evaluations = await Promise.all(
    task.at.map(async ([iteration, episodes]) => ({ iteration, episodes, detail: await detailOf(episodes[0]) })),
  );
  const texts = evaluations.map(({ detail }) => (detail.blueprint?.subgoals ?? []).join("\n")),
    wins = evaluations.filter(({ episodes }) => episodes[0].success).length;
  const go = (by) => (all[place + by] ? `#task/${run}/${all[place + by].at[0][1][0].id}` : null);
  main.append(
    el(
      "p.crumbs",
      el("a", { href: "#tasks" }, "tasks"),
      ` / ${task.split} ${task.index}`,
      el(
        "span.pager",
        el("a", { href: go(-1), rel: "prev" }, "‹ previous"),
        el("a", { href: go(1), rel: "next" }, "next ›"),
      ),
    ),
    el("h1", `Task ${task.index} of ${task.split}`, task.kind ? `, ${task.kind}` : null),
    taskHead(run, evaluations[0].detail),
    el("h2", "Its blueprint over training"),
    el(
      "p.note",
      `${plural(evaluations.length, "evaluation")}, solved at ${wins}. `,
      new Set(texts).size > 1
        ? `${whole(new Set(texts).size)} different blueprints: what changed since the evaluation before is marked.`
        : "The blueprint was always the same.",
    ),
    el(
      "ol.career",
      evaluations.map((one, i) => stationOf(run, one, evaluations[i - 1])),
    ),
  );
}

// A task at one evaluation; `before` is the evaluation before, if there was one.
function stationOf(run, { iteration, episodes, detail }, before) {
  const [e, ...others] = episodes,
    plan = planOf(e, detail).filter((part) => part.asked);
  const lines = before
    ? changes(
        before.detail.blueprint?.subgoals ?? [],
        plan.map((part) => part.subgoal),
      )
    : plan.map(({ subgoal }) => ({ now: [[subgoal, ""]] }));
  const isSame = before && lines.every((line) => line.now?.every(([, mark]) => !mark));
  const moments = momentsOf(detail, turnsOf(e, detail));
  let at = 0;
  return el(
    isSame ? "li.same" : "li",
    { "data-iteration": iteration },
    el(
      "div.when",
      el("a", { href: `#episode/${run}/${e.id}` }, `iteration ${iteration}`),
      el("p", verdict(e)),
      el("p.note", `return ${brief(e.return)} · ${plural(e.env_steps, "step")}`),
      others.length
        ? el(
            "span.marks",
            others.map((other) => point(other, iteration)),
          )
        : null,
    ),
    el(
      "div",
      isSame ? el("p.note", "the same blueprint") : null,
      plan.length
        ? el(
            "ol.plan",
            lines.map((line) => planLine(line, line.now ? plan[at++] : null)),
          )
        : el("p.note", "no blueprint"),
      e.malformed ? el("span.tag.warn", "could not be read: the task itself") : null,
    ),
    el("div.end", smallWorld(run, moments, moments.length - 1), el("p.note", "at the end")),
  );
}

function planLine({ now, gone }, part) {
  if (gone) return el("li.gone", el("del", gone));
  return el(
    "li",
    statusOf(part.status),
    el(
      "span",
      now.map(([text, mark]) => (mark ? el(mark, text) : text)),
    ),
  );
}

// Two lists of lines -> the new list with its changes marked: {now: [[text, "" | "ins" | "del"], ...]} for each new line,
// {gone: text} for an old line that nothing replaces.
function changes(before, after) {
  return aligned(before, after).flatMap((part) => {
    if (part.same) return part.same.map((text) => ({ now: [[text, ""]] }));
    return Array.from({ length: Math.max(part.gone.length, part.come.length) }, (_, i) => {
      if (i >= part.come.length) return { gone: part.gone[i] };
      return { now: i < part.gone.length ? reworded(part.gone[i], part.come[i]) : [[part.come[i], "ins"]] };
    });
  });
}

// Two lines word by word; lines that share less than half their words are simply another line.
function reworded(before, after) {
  const [old, young] = [before, after].map((text) => text.match(/\s*\S+/g) ?? []),
    parts = aligned(old, young);
  if (2 * sum(parts, (part) => part.same?.length ?? 0) < Math.max(old.length, young.length))
    return [
      [before, "del"],
      [" ", ""],
      [after, "ins"],
    ];
  return parts.flatMap((part) =>
    part.same
      ? [[part.same.join(""), ""]]
      : [...marked(part.gone.join(""), "del"), ...marked(part.come.join(""), "ins")],
  );
}

// The space before a marked word is not marked.
function marked(text, mark) {
  const words = text.trimStart();
  return words
    ? [
        [text.slice(0, text.length - words.length), ""],
        [words, mark],
      ]
    : [];
}

// The longest common subsequence of two lists as runs: {same: [...]} or {gone: [...], come: [...]}, in order.
function aligned(a, b) {
  const best = Array.from({ length: a.length + 1 }, () => Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const runs = [];
  let i = 0,
    j = 0;
  const open = (kind) => {
    if (!runs.length || kind in runs.at(-1) === false)
      runs.push(kind === "same" ? { same: [] } : { gone: [], come: [] });
    return runs.at(-1);
  };
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      open("same").same.push(a[i++]);
      j++;
    } else if (j === b.length || (i < a.length && best[i + 1][j] >= best[i][j + 1])) open("gone").gone.push(a[i++]);
    else open("come").come.push(b[j++]);
  }
  return runs;
}
