// A group: its task and first state, any of its attempts side by side (beside.js), then all of them as cards; of a
// phase A group also the executions of its best blueprint.
async function groupPage(main, run, id, query) {
  const first = episodeAt(run, id),
    all = episodesOf(run);
  const same = (e, phase) =>
    e.iteration === first.iteration && e.phase === phase && e.split === first.split && e.index === first.index;
  const peers = all.filter((e) => groupKey(e) === groupKey(first));
  const isPair = ["planner", "executor"].includes(first.phase),
    attempts = isPair ? all.filter((e) => same(e, "planner") || same(e, "executor")) : peers;
  main.append(
    el(
      "p.crumbs",
      el("a", { href: "#episodes" }, "episodes"),
      ` / iteration ${first.iteration} / ${first.split} ${first.index}`,
    ),
    el("h1", `Task ${first.index} of ${first.split}, iteration ${first.iteration}`),
    taskHead(run, await detailOf(first)),
    first.phase === "eval"
      ? el("p", el("a", { href: `#task/${run}/${id}` }, "this task at every evaluation"))
      : await besideSection(run, id, attempts, query),
  );
  if (isPair) {
    await side(
      main,
      "Phase A: the blueprints",
      "Each was run greedily by the executor; compared with one another.",
      all.filter((e) => same(e, "planner")),
    );
    await side(
      main,
      "Phase B: executions of z*",
      "The best blueprint, sampled; compared with one another.",
      all.filter((e) => same(e, "executor")),
    );
  } else await side(main, `${PHASES[first.phase]?.long ?? first.phase}`, "Compared with one another.", peers);
}

async function side(main, name, note, peers) {
  if (!peers.length) return;
  const cards = await Promise.all(peers.map((e) => card(e)));
  main.append(el("section", el("h2", name), el("p.note", note, " ", scaleNote()), el("div.cards", cards)));
}

async function card(e) {
  const detail = await detailOf(e);
  const plan = planOf(e, detail).filter((part) => part.asked);
  return el(
    e.chosen ? "article.card.best" : "article.card",
    el(
      "h3",
      el("a", { href: `#episode/${e.run}/${e.id}` }, `attempt ${e.replica + 1}`),
      e.chosen ? el("span.tag", "z*") : null,
      e.copy ? el("span.tag", "same plan, run once") : null,
    ),
    el("p", verdict(e), ` · return ${brief(e.return)} · ${plural(e.env_steps, "step")}`),
    advantageBar(e.advantage),
    plan.length
      ? el(
          "ol.plan",
          plan.map((part) => el("li", statusOf(part.status), el("span", part.subgoal))),
        )
      : el("p.note", "no blueprint"),
  );
}

const verdict = (e) => el(e.success ? "b.won" : "b.lost", e.success ? "✓ success" : `✗ ${words(e.stop)}`);

function advantageBar(value) {
  if (!isNumber(value)) return el("p.note", "not trained");
  const share = Math.min(1, Math.abs(value) / largestAdvantage()) / 2;
  return el(
    "p.adv",
    el("span", `advantage ${signed(value)}`),
    el(
      "span.scale",
      { "aria-hidden": "true" },
      el(value < 0 ? "i.neg" : "i.pos", {
        css: { width: percentCss(share), left: percentCss(value < 0 ? 0.5 - share : 0.5) },
      }),
    ),
  );
}
const percentCss = (x) => `${(100 * x).toFixed(2)}%`;
