// Attempts at one task side by side, a row for each step or each sub-goal, from where they part. Which ones, and by
// what, stands in the address (`?with=3,5&by=subgoal`), so a comparison can be linked.

const ALIGNED = { step: "step", subgoal: "sub-goal" };

async function besideSection(run, id, attempts, query) {
  if (attempts.length < 2) return null;
  const asked = new URLSearchParams(query),
    ids = (asked.get("with") ?? "").split(",").map(Number),
    known = attempts.filter((e) => ids.includes(e.id)).map((e) => e.id);
  const all = await Promise.all(attempts.map(async (e) => sideOf(e, await detailOf(e))));
  const picked = new Set(known.length > 1 ? known : twoOf(all).map(({ e }) => e.id));
  let by = asked.get("by") in ALIGNED ? asked.get("by") : "step";
  const box = el("div");
  const draw = () => {
    const sides = all.filter(({ e }) => picked.has(e.id));
    for (const chip of chips.children) chip.setAttribute("aria-pressed", picked.has(Number(chip.dataset.id)));
    box.replaceChildren(sides.length < 2 ? el("p.empty", "Choose two or more attempts.") : besideTable(run, sides, by));
  };
  const change = () => {
    history.replaceState(null, "", `#group/${run}/${id}?${new URLSearchParams({ with: [...picked].join(","), by })}`);
    draw();
  };
  const chips = el(
    "span.chips",
    { role: "group", "aria-label": "attempts" },
    attempts.map((e) =>
      el(
        `button.mark${e.success ? ".won" : ""}${e.chosen ? ".chosen" : ""}`,
        {
          type: "button",
          "data-id": e.id,
          title: `${e.success ? "success" : words(e.stop)}, return ${brief(e.return)}`,
          onclick: () => {
            if (!picked.delete(e.id)) picked.add(e.id);
            change();
          },
        },
        attemptName(e),
      ),
    ),
  );
  const ways = el(
    "fieldset.colouring",
    el("legend", "a row for each"),
    Object.entries(ALIGNED).map(([key, name]) =>
      el(
        "label",
        el("input", {
          type: "radio",
          name: "aligned",
          value: key,
          checked: key === by,
          onchange: () => {
            by = key;
            change();
          },
        }),
        name,
      ),
    ),
  );
  draw();
  return el("section.beside", el("h2", "Side by side"), el("div.choice", chips, ways), box);
}

const attemptName = (e) => `${{ planner: "A", executor: "B" }[e.phase] ?? ""}${e.replica + 1}`;

// Which two are worth a look at first: the best, and the worst of those that act otherwise, of one phase if there are two.
function twoOf(sides) {
  const own = sides.filter(({ e }) => e.phase === sides[0].e.phase && !e.copy),
    order = [...sides].sort((a, b) => b.e.return - a.e.return || a.e.replica - b.e.replica),
    first = order.find((side) => own.includes(side)) ?? order[0];
  const others = order.filter((side) => side !== first && partingOf([first, side]));
  return [
    first,
    others.findLast((side) => own.includes(side)) ?? others.at(-1) ?? order.find((side) => side !== first),
  ];
}

// An attempt with its moments, and its sub-goals with the moments that fall under each.
function sideOf(e, detail) {
  const moments = momentsOf(detail, turnsOf(e, detail));
  let place = detail.planning ? 1 : 0;
  const parts = planOf(e, detail).map((part) => {
    if (!part.segment) return { ...part, steps: [] };
    const first = place,
      end = (place += part.segment.turns.length);
    const isOwn = ({ turn }) => turn && turn.place >= first && turn.place < end;
    return { ...part, steps: moments.flatMap((moment, i) => (isOwn(moment) ? [i] : [])) };
  });
  return { e, moments, parts };
}

function besideTable(run, sides, by) {
  const rows = by === "step" ? stepRows(run, sides) : subgoalRows(run, sides);
  return el(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": `attempts side by side, a row for each ${ALIGNED[by]}` },
    el(
      "table.sides",
      el(
        "thead",
        el(
          "tr",
          el("th", { scope: "col" }, ALIGNED[by]),
          sides.map(({ e }) => el("th", { scope: "col" }, sideName(e))),
        ),
      ),
      el("tbody", rows),
    ),
  );
}

const sideName = (e) => [
  el("a", { href: `#episode/${e.run}/${e.id}` }, `attempt ${attemptName(e)}`),
  e.chosen ? el("span.tag", "z*") : null,
  el("span.result", verdict(e), ` · return ${brief(e.return)}`),
];

function stepRows(run, sides) {
  const last = Math.max(...sides.map(({ moments }) => moments.length)) - 1,
    parting = partingOf(sides),
    alike = (parting || last + 1) - 1;
  const row = (step) =>
    el(
      "tr",
      { class: step === parting && alike ? "parting" : null, "data-step": step },
      el("th", { scope: "row" }, step, step === parting && alike ? el("span.note", " they part") : null),
      sides.map((side) => el("td", stepCell(run, side, step))),
    );
  const rest = Array.from({ length: last - alike }, (_, i) => row(alike + 1 + i));
  return alike ? [alikeRow(run, sides, alike), ...rest] : rest;
}

// The steps that all attempts take alike, as one row.
const alikeRow = (run, sides, last) =>
  el(
    "tr.alike",
    el("th", { scope: "row" }, last > 1 ? `1 to ${last}` : "1", el("span.note", " alike")),
    sides.map(({ moments, parts }) =>
      el(
        "td",
        parts.filter((part) => part.subgoal && part.steps[0] <= last).map((part) => el("p.under", part.subgoal)),
        el(
          "div.moment",
          smallWorld(run, moments, last),
          el("p", el("code", inRuns(moments.slice(1, last + 1).map(({ turn }) => turn.action)))),
        ),
      ),
    ),
  );

// The first step at which the attempts do not all act alike; 0 where they always do.
function partingOf(sides) {
  const most = Math.max(...sides.map(({ moments }) => moments.length));
  for (let step = 1; step < most; step++)
    if (new Set(sides.map(({ moments }) => moments[step]?.turn.action ?? null)).size > 1) return step;
  return 0;
}

function stepCell(run, { e, moments, parts }, step) {
  if (step >= moments.length) return step === moments.length ? el("p.note", "the end: ", verdict(e)) : null;
  const { turn } = moments[step],
    begun = parts.find((part) => part.steps[0] === step && part.subgoal);
  return [
    begun ? el("p.under", begun.subgoal) : null,
    el(
      "div.moment",
      smallWorld(run, moments, step),
      el(
        "p",
        el("code", turn.action),
        turn.reward ? el("span.note", ` ${signed(turn.reward)}`) : null,
        moments[step].board && moments[step].board === moments[step - 1].board
          ? el("span.note", " nothing changed")
          : null,
        turn.admissible ? null : el("span.tag.warn", "inadmissible"),
      ),
    ),
  ];
}

function subgoalRows(run, sides) {
  const most = Math.max(...sides.map(({ parts }) => parts.length));
  return Array.from({ length: most }, (_, i) =>
    el(
      "tr",
      el("th", { scope: "row" }, i + 1),
      sides.map(({ moments, parts }) => el("td", parts[i] ? subgoalCell(run, moments, parts[i]) : null)),
    ),
  );
}

function subgoalCell(run, moments, part) {
  const actions = part.steps.map((step) => moments[step].turn.action);
  return [
    el("p.under", statusOf(part.status), part.subgoal || "the task"),
    part.steps.length
      ? el("div.moment", smallWorld(run, moments, part.steps.at(-1)), el("p", el("code", inRuns(actions))))
      : null,
  ];
}

// ["down", "down", "left"] -> "down ×2, left"
function inRuns(actions) {
  const runs = [];
  for (const action of actions) {
    if (runs.at(-1)?.action === action) runs.at(-1).count += 1;
    else runs.push({ action, count: 1 });
  }
  return runs.map(({ action, count }) => (count > 1 ? `${action} ×${count}` : action)).join(", ");
}

// The world after a step, small: its board, or what it answered.
function smallWorld(run, moments, step) {
  const { board, text } = moments[step],
    rows = board ? null : readBoard(text);
  if (board) return el("div.small", drawRows(run, board));
  return rows ? el("div.small", drawBoard(rows)) : el("div.answer", answerOf(run, text));
}
