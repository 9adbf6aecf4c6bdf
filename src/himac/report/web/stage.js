// The world beside an episode's timeline: moments to step through, by buttons, a slider or keys, and (Sokoban) a board
// one can play on from there.

const besideStory = matchMedia("(min-width: 861px)"); // there the world stays in sight while the timeline moves

// The world at a step, with buttons, a slider, the keyboard, and (Sokoban) a board one can play on from there.
function makeStage(e, detail, turns) {
  const moments = momentsOf(detail, turns);
  const after = new Map();
  let seen = 0;
  for (const turn of turns) {
    if (turn.action !== null) seen += 1;
    after.set(turn.place, seen);
  }
  const view = el("div.view"),
    label = el("p.label", { role: "status" }),
    shown = el(
      "details.shown",
      { open: /<image:/.test(detail.instruction) },
      el("summary", "what the model was shown"),
    ),
    slider = el("input", { type: "range", min: 0, max: moments.length - 1, value: 0, "aria-label": "step" });
  let step = 0,
    timer = null,
    board = null,
    hand = 0;
  const nodes = [];
  const playing = el("button", { type: "button", id: "play", onclick: () => toggle() }, "play");
  const go = (next) => {
    step = Math.max(0, Math.min(moments.length - 1, next));
    hand = 0;
    board = lastBoard(e.run, moments, step);
    draw(board);
    show(moments[step]);
    slider.value = step;
    const turn = moments[step].turn;
    label.textContent = step === 0 ? "the start" : `step ${step} of ${moments.length - 1}: ${turn.action}`;
    for (const node of nodes) node.classList.toggle("now", turn !== null && Number(node.dataset.turn) === turn.place);
    if (turn && besideStory.matches)
      nodes.find((node) => node.classList.contains("now"))?.scrollIntoView({ block: "nearest" });
  };
  const draw = (rows) => {
    view.replaceChildren(rows ? drawBoard(rows) : scene(e.run, moments, step));
    const list = view.querySelector(".places"),
      now = view.querySelector(".places .now");
    if (now) list.scrollTop = now.offsetTop - list.clientHeight / 3;
  };
  const show = (moment) => {
    shown.hidden = !moment.board || !saysMore(moment);
    shown.replaceChildren(shown.firstChild, ...shownOf(e.run, moment).filter(Boolean));
  };
  const toggle = () => {
    if (timer) stop();
    else {
      if (step === moments.length - 1) go(0);
      timer = setInterval(() => {
        go(step + 1);
        if (step === moments.length - 1) stop();
      }, 450);
      playing.textContent = "pause";
    }
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    playing.textContent = "play";
  };
  const move = (name) => {
    if (!board) return;
    stop();
    const next = pushed(board, name);
    hand += 1;
    board = next;
    draw(board);
    label.textContent = solved(board)
      ? `you solved it in ${plural(hand, "move")} from step ${step}`
      : `your move ${hand} from step ${step}: ${name}`;
  };
  slider.addEventListener("input", () => {
    stop();
    go(Number(slider.value));
  });
  const arrows = lastBoard(e.run, moments, 0)
    ? el(
        "div.pad",
        { "aria-label": "try it yourself from here" },
        el("span.note", "try it from here"),
        [
          ["up", "↑"],
          ["left", "←"],
          ["down", "↓"],
          ["right", "→"],
        ].map(([name, sign]) =>
          el(
            `button.${name}`,
            { type: "button", "data-move": name, "aria-label": `move ${name}`, onclick: () => move(name) },
            sign,
          ),
        ),
      )
    : null;
  const controls = [
    label,
    slider,
    el(
      "div.controls",
      el(
        "button",
        {
          type: "button",
          id: "back",
          "aria-label": "step back",
          onclick: () => {
            stop();
            go(step - 1);
          },
        },
        "‹",
      ),
      playing,
      el(
        "button",
        {
          type: "button",
          id: "forth",
          "aria-label": "step on",
          onclick: () => {
            stop();
            go(step + 1);
          },
        },
        "›",
      ),
    ),
  ];
  const node = el(
    "aside.stage",
    { "aria-label": "the world" },
    arrows ? [view, controls] : [controls, view],
    arrows,
    shown,
    noBoard(detail),
    el("p.note.hint", "← → step, space plays", arrows ? ", w a s d move" : ""),
  );
  return {
    node,
    go,
    stop,
    toggle,
    move,
    by: (n) => {
      stop();
      go(step + n);
    },
    stepOf: (turn) => after.get(turn.place),
    listen: (node) => nodes.push(node),
  };
}

// The board one can play on from a step, or null; where it is read off the texts, a turn whose answer shows none leaves
// the one before.
function lastBoard(run, moments, step) {
  if (moments[step].board) return RUNS[run].world === "sokoban" ? readBoard(moments[step].board) : null;
  for (let at = step; at >= 0; at--) {
    const rows = readBoard(moments[at].text);
    if (rows) return rows;
  }
  return null;
}
