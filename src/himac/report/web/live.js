// A page that follows a live run: `himac report --serve` is asked every few seconds whether the run's files have grown.
// What it then says is drawn anew without moving the reader: scroll, focus, open parts and long lists stay.

const EVERY_MS = 3000;

function startFollowing() {
  if (!DATA.live) return;
  const told = el("span", { id: "live", class: "note", title: `as of ${DATA.made}` }, "live");
  document.getElementById("theme").before(told);
  const ask = async () => {
    try {
      if (await takeNews()) told.title = `as of ${new Date().toLocaleTimeString("en-GB")}`;
      told.textContent = "live";
      delete told.dataset.lost;
    } catch {
      told.textContent = "not live";
      if (!("lost" in told.dataset)) told.title += ", and now the server does not answer";
      told.dataset.lost = "";
    }
    setTimeout(ask, EVERY_MS);
  };
  setTimeout(ask, EVERY_MS);
}

// Whether what is shown is now what the server has.
async function takeNews() {
  if (isBusy()) return false;
  const answer = await fetch("data.json", { headers: { "If-None-Match": DATA.tag }, cache: "no-store" });
  if (answer.status === 304) return true;
  if (!answer.ok) throw new Error(answer.statusText);
  const data = await answer.json();
  if (isBusy()) return false; // it is asked for again
  await renew(data);
  return true;
}

// Somebody marks text or has a list of choices open: drawing anew would take it from under the hand.
function isBusy() {
  if (document.hidden || !getSelection().isCollapsed) return true;
  return CSS.supports("selector(:open)") && Boolean(document.querySelector("select:open"));
}

async function renew(data) {
  const open = location.hash.match(/^#(group|episode|task)\/(\d+)\/(\d+)(.*)$/),
    seen = open && RUNS[open[2]]?.episodes.rows[open[3]] ? nameOf(episodeAt(Number(open[2]), Number(open[3]))) : null;
  take(data);
  if (!seen) return show({ keep: true });
  const run = Number(open[2]),
    now = episodesOf(run).find((e) => nameOf(e) === seen);
  if (!now || now.id === Number(open[3])) return; // an episode does not change; one that is not kept any more stays in view
  history.replaceState(null, "", `#${open[1]}/${run}/${now.id}${open[4]}`);
  return show({ keep: true });
}

// What an episode is called whatever else the page holds: its place in the list moves when a larger run is thinned.
const nameOf = (e) => `${groupKey(e)}/${e.replica}`;

// Where the reader is, and how to bring him back there.
function placeNow() {
  const focused = document.activeElement,
    charts = [...document.querySelectorAll(".chart svg")];
  const at = {
    y: scrollY,
    id: focused?.id,
    chart: charts.indexOf(focused),
    range: focused?.type === "search" ? [focused.selectionStart, focused.selectionEnd] : null,
    open: new Set([...document.querySelectorAll("details[open]")].map(titleOf)),
    lines: document.querySelectorAll("ol.groups > li").length,
    step: document.querySelector(".turn.now")?.dataset.step,
  };
  return () => {
    for (const part of document.querySelectorAll("details")) if (at.open.has(titleOf(part))) part.open = true;
    const list = document.querySelector("ol.groups"),
      more = list?.parentNode.querySelector(":scope > button");
    while (more && !more.hidden && list.children.length < at.lines) more.click();
    if (at.step && current) current.go(Number(at.step));
    const back = at.id ? document.getElementById(at.id) : document.querySelectorAll(".chart svg")[at.chart];
    back?.focus({ preventScroll: true });
    if (at.range) back?.setSelectionRange(...at.range);
    scrollTo(0, at.y);
  };
}
const titleOf = (part) => part.querySelector("summary")?.textContent;
