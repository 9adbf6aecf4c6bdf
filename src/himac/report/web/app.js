// Addresses to pages, keys to actions, the theme. Runs last.

let current = null; // the stage of the open episode

const ROUTES = [
  [/^episodes(?:\?(.*))?$/, (main, query) => episodesPage(main, query ?? "")],
  [/^group\/(\d+)\/(\d+)(?:\?(.*))?$/, (main, run, id, query) => groupPage(main, Number(run), Number(id), query ?? "")],
  [/^tasks$/, (main) => tasksPage(main)],
  [/^task\/(\d+)\/(\d+)$/, (main, run, id) => taskPage(main, Number(run), Number(id))],
  [
    /^episode\/(\d+)\/(\d+)(?:\?turn=(\d+))?$/,
    async (main, run, id) => {
      current = await episodePage(main, Number(run), Number(id));
    },
  ],
  [/^/, (main) => runPage(main)],
];

// keep: draw what is open anew and leave the reader where he is
async function show({ keep = false } = {}) {
  const address = decoded(location.hash.slice(1)),
    shown = document.getElementById("main"),
    back = keep ? placeNow() : null;
  current?.stop();
  current = null;
  // out of sight first, so that nothing jumps; an episode's page needs to be in the document
  const main = keep && !/^(group|episode)\//.test(address) ? el("div") : shown;
  main.replaceChildren();
  markNav(address);
  const [pattern, page] = ROUTES.find(([pattern]) => pattern.test(address));
  const known = address.match(/^(?:group|episode|task)\/(\d+)\/(\d+)(?:\?|$)/);
  if (known && !RUNS[known[1]]?.episodes.rows[known[2]])
    main.append(el("p.empty", "This report has no such episode."));
  else
    try {
      await page(main, ...address.match(pattern).slice(1));
    } catch (error) {
      main.append(
        el(
          "p.empty",
          typeof DecompressionStream === "undefined"
            ? "This browser is too old to unpack episodes (it lacks DecompressionStream)."
            : `This part of the report could not be drawn: ${error.message}`,
        ),
      );
    }
  if (main !== shown) shown.replaceChildren(...main.childNodes);
  if (back) back();
  else if (address.includes("?turn=")) goToTurn(address.split("?turn=")[1]);
  else if (!address.startsWith("episodes")) scrollTo(0, 0);
  document.body.dataset.ready = address || "run";
}

// A place that a search found: the turn in the middle of the window, the world beside it as it was then.
function goToTurn(turn) {
  const node = document.querySelector(`[data-turn="${turn}"]`);
  if (!node) return;
  current?.go(Number(node.dataset.step));
  node.classList.add("found");
  node.scrollIntoView({ block: "center" });
}

// A hash that somebody typed may hold a percent sign that encodes nothing.
function decoded(text) {
  try {
    return decodeURI(text);
  } catch {
    return text;
  }
}

function markNav(address) {
  const links = [
    ["run", RUNS.length > 1 ? "Runs" : "Run"],
    ["episodes", "Episodes"],
    ...(RUNS.some((_, run) => careersOf(run).length) ? [["tasks", "Tasks"]] : []),
  ];
  const open = /^(episode|group)/.test(address) ? "episodes" : /^task/.test(address) ? "tasks" : "run";
  document
    .getElementById("nav")
    .replaceChildren(
      ...links.map(([key, name]) => el("a", { href: `#${key}`, "aria-current": key === open ? "page" : null }, name)),
    );
}

function onKey(event) {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) ||
    !current
  )
    return;
  const moves = { w: "up", a: "left", s: "down", d: "right" };
  if (event.key === "ArrowRight") current.by(1);
  else if (event.key === "ArrowLeft") current.by(-1);
  else if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SUMMARY")
    current.toggle();
  else if (moves[event.key]) current.move(moves[event.key]);
  else return;
  event.preventDefault();
}

function startTheme() {
  const root = document.documentElement,
    dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
  });
}

document.title = `${RUNS.map((run) => run.name).join(", ")}: himac report`;
addEventListener("hashchange", () => show());
document.addEventListener("keydown", onKey);
startTheme();
watchTokens();
startFollowing();
show();
