// One episode as a timeline: the blueprint and what became of each sub-goal, the turns under their sub-goal, the
// world beside them. A step is a moment in the world: 0 is the start, n what stood after turn n.

const STATUS = {
  sub_done: ["✓", "done", "the executor said <sub_done>"],
  budget: ["»", "forced", "its turns ran out"],
  never: ["·", "never reached", "the episode ended before"],
  success: ["★", "solved here", "the task was solved under it"],
  episode_end: ["✗", "ended here", "the episode ended under it"],
};
const statusOf = (status) => {
  const [sign, name, why] = STATUS[status] ?? STATUS.episode_end;
  return el(`span.status.${status in STATUS ? status : "episode_end"}`, { title: why }, `${sign} ${name}`);
};

// The sub-goals in order with their segment (null: never reached); what follows the blueprint last, asked: false.
function planOf(e, detail) {
  const asked = detail.blueprint?.subgoals ?? [];
  const parts = asked.map((subgoal) => ({ subgoal, asked: true, segment: null, status: "never" }));
  for (const segment of detail.segments) {
    const isLast = segment === detail.segments.at(-1);
    const status =
      segment.stop === "sub_done" || segment.stop === "budget"
        ? segment.stop
        : isLast && e.success
          ? "success"
          : "episode_end";
    const part = { subgoal: segment.subgoal, asked: segment.index < asked.length, segment, status };
    if (part.asked) parts[segment.index] = part;
    else parts.push(part);
  }
  return parts;
}

async function episodePage(main, run, id) {
  const e = episodeAt(run, id),
    detail = await detailOf(e);
  const turns = turnsOf(e, detail),
    stage = makeStage(e, detail, turns);
  main.append(
    crumbs(e),
    el("h1", verdict(e), ` · task ${e.index} of ${e.split}`, e.kind ? `, ${e.kind}` : null),
    factsOf(e, detail),
    el(
      "div.episode",
      el(
        "div.story",
        blueprintOf(e, detail),
        colourPicker(main, run, id),
        timeline(e, detail, turns, stage),
        sequences(e, detail),
      ),
      stage.node,
    ),
  );
  stage.go(0);
  return stage;
}

// Every turn with its advantage, in the order of the file: the blueprint's first.
function turnsOf(e, detail) {
  const list = [...(detail.planning ? [detail.planning] : []), ...detail.segments.flatMap((segment) => segment.turns)];
  const logps = detail.contexts.map(logpsOf);
  return list.map((turn, place) => {
    const isTrained = !(e.copy && turn.role === "executor");
    const advantage = isTrained ? (detail.advantages?.[place] ?? null) : null;
    const context = detail.contexts[turn.context];
    const tokens = (context?.ids.slice(turn.start, turn.end) ?? []).map((token, i) => ({
      id: token,
      at: turn.start + i,
      logp: logps[turn.context]?.get(turn.start + i),
      advantage,
    }));
    return { ...turn, place, advantage, tokens };
  });
}

function crumbs(e) {
  const all = episodesOf(e.run),
    go = (by) => (all[e.id + by] ? `#episode/${e.run}/${e.id + by}` : null);
  return el(
    "p.crumbs",
    el("a", { href: "#episodes" }, "episodes"),
    " / ",
    e.phase === "eval"
      ? [
          el("a", { href: `#task/${e.run}/${e.id}` }, `task ${e.index} of ${e.split}`),
          ` / iteration ${e.iteration}, evaluation`,
        ]
      : [
          el(
            "a",
            { href: `#group/${e.run}/${e.id}` },
            `iteration ${e.iteration}, ${phaseName(e.phase)}, group ${e.group}`,
          ),
          ` / attempt ${e.replica + 1}`,
        ],
    el(
      "span.pager",
      el("a", { href: go(-1), rel: "prev" }, "‹ previous"),
      el("a", { href: go(1), rel: "next" }, "next ›"),
    ),
  );
}

function factsOf(e, detail) {
  const facts = [
    ["return", brief(e.return)],
    ["penalties", brief(detail.penalty)],
    ["score", brief(e.score)],
    ["advantage", e.advantage === null ? "not trained" : signed(e.advantage)],
    ["environment steps", whole(e.env_steps)],
    ["turns", whole(e.calls)],
    ["tokens", whole(e.tokens)],
    ["ended by", words(e.stop)],
  ];
  return el(
    "div",
    el(
      "dl.facts",
      facts.map(([name, value]) => el("div", el("dt", name), el("dd", value))),
    ),
    e.copy ? el("p.note", "Its blueprint is a peer's word for word: the execution was run once and is shared.") : null,
    detail.error ? el("details", el("summary", "error"), el("pre.world", detail.error)) : null,
  );
}

function blueprintOf(e, detail) {
  const plan = planOf(e, detail).filter((part) => part.asked);
  if (!plan.length) return null;
  return el(
    "section.blueprint",
    el(
      "h2",
      "Blueprint",
      e.malformed ? el("span.tag.warn", "could not be read: the task itself") : null,
      e.chosen ? el("span.tag", "z*") : null,
    ),
    el(
      "ol",
      plan.map((part) =>
        el(
          "li",
          statusOf(part.status),
          el("span", part.subgoal),
          part.segment ? el("span.note", ` ${plural(part.segment.turns.length, "turn")}`) : null,
        ),
      ),
    ),
  );
}

function colourPicker(main, run, id) {
  return el(
    "fieldset.colouring",
    el("legend", "colour tokens by"),
    Object.entries(COLOURINGS).map(([key, name]) =>
      el(
        "label",
        el("input", {
          type: "radio",
          name: "colouring",
          value: key,
          checked: key === colouring,
          onchange: () => {
            colouring = key;
            repaint(main, run, id);
          },
        }),
        name,
      ),
    ),
    el("span.note", MEANINGS[colouring]),
  );
}

async function repaint(main, run, id) {
  const y = scrollY,
    step = document.querySelector(".turn.now")?.dataset.step ?? 0;
  main.replaceChildren();
  current = await episodePage(main, run, id);
  current.go(Number(step));
  scrollTo(0, y);
  document.querySelector(`input[value=${colouring}]`).focus({ preventScroll: true });
}

function timeline(e, detail, turns, stage) {
  const most = Math.max(...turns.map((turn) => Math.abs(turn.advantage ?? 0)), 1e-9);
  const story = el("section.timeline", el("h2", "Timeline"), el("p.note", trainedNote(e)));
  let place = 0;
  if (detail.planning) {
    story.append(el("div.segment", el("h3", "The planner writes"), turnOf(e, turns[0], most, stage)));
    place = 1;
  }
  for (const part of planOf(e, detail)) {
    if (!part.segment) {
      story.append(el("div.segment.unreached", el("h3", statusOf(part.status), part.subgoal)));
      continue;
    }
    const own = turns.slice(place, (place += part.segment.turns.length));
    story.append(
      el(
        "div.segment",
        el("h3", part.asked || part.subgoal ? statusOf(part.status) : null, part.subgoal || "the task"),
        part.segment.trimmed
          ? el("p.note", `${plural(part.segment.trimmed, "oldest turn")} left the context: token budget`)
          : null,
        own.map((turn) => turnOf(e, turn, most, stage)),
      ),
    );
  }
  return story;
}

function trainedNote(e) {
  if (e.advantage === null) return "An evaluation: nothing here was trained on.";
  if (e.phase === "planner") return "Phase A trains the blueprint's tokens; what the executor wrote is shown plain.";
  return e.phase === "executor"
    ? "Phase B trains the executor's tokens; its blueprint was given."
    : "Every turn with an advantage was trained on.";
}

function turnOf(e, turn, most, stage) {
  const thought = turn.text.match(/<think>([\s\S]*?)(?:<\/think>|$)/)?.[1].trim();
  const says = turn.sub_done ? "<sub_done>" : turn.action;
  const isBare = turn.text.trim() === says || turn.text.trim() === `<action>${says}</action>`;
  const problems = [!turn.readable && "unreadable", !turn.admissible && "inadmissible"].filter(Boolean);
  const step = stage.stepOf(turn);
  const number = el(
    "button.step",
    { type: "button", onclick: () => stage.go(step), "aria-label": `show the world after turn ${turn.place + 1}` },
    turn.place + 1,
  );
  const node = el(
    "div.turn",
    { "data-step": step, "data-turn": turn.place },
    number,
    el(
      "div.said",
      thought ? el("p.thought", thought) : null,
      isString(says) && !isBare ? el("p.action", el("code", says)) : null,
      el(
        "p.raw",
        turn.tokens.length ? tokenRow(e.run, turn.tokens, most) : el("span.tokens", turn.text),
        problems.map((p) => el("span.tag.warn", p)),
      ),
      turn.observation && !readBoard(turn.observation) ? el("div.answer", answerOf(e.run, turn.observation)) : null,
    ),
    el(
      "p.numbers",
      isString(turn.action) ? el("span", "reward ", signed(turn.reward)) : null,
      turn.penalty ? el("span", "penalty ", brief(turn.penalty)) : null,
      isNumber(turn.advantage) ? el("span", "advantage ", signed(turn.advantage)) : null,
    ),
  );
  stage.listen(node);
  return node;
}
const isString = (x) => typeof x === "string";

// The training sequences, whole: prompt dim, sampled tokens as the learner saw them.
function sequences(e, detail) {
  const advantages = new Map();
  for (const turn of turnsOf(e, detail))
    for (const token of turn.tokens) advantages.set(`${turn.context}/${token.at}`, turn.advantage);
  const most = Math.max(...[...advantages.values()].map((a) => Math.abs(a ?? 0)), 1e-9);
  if (!detail.contexts.some((context) => context.ids.length))
    return el("p.note", "The model was asked through an endpoint: there are texts, and no tokens.");
  return el(
    "section",
    el("h2", "Token sequences"),
    el(
      "p.note",
      RUNS[e.run].vocabulary
        ? "Prompt tokens (mask 0) are dim; the others are exactly what was sampled."
        : "The run's tokenizer was not found: ids are shown.",
    ),
    detail.contexts.map((context, place) => {
      const sampled = sum(context.sampled, ([start, end]) => end - start);
      const box = el(
        "details",
        el("summary", `sequence ${place + 1}: ${whole(context.ids.length)} tokens, ${whole(sampled)} sampled`),
      );
      box.addEventListener("toggle", () => {
        if (!box.open || box.children.length > 1) return;
        const logps = logpsOf(context);
        box.append(
          el(
            "div.sequence",
            tokenRow(
              e.run,
              withoutPictures(context.ids).map(({ id, at, count }) => ({
                id,
                at,
                count,
                logp: logps.get(at),
                advantage: advantages.get(`${place}/${at}`) ?? null,
              })),
              most,
            ),
          ),
        );
      });
      return box;
    }),
  );
}
