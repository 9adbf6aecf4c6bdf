// Search in what was said: tasks, blueprints, completions and answers of every kept episode. Each text is kept once
// (packed.py), so a search looks at each once, and then at which episodes hold it.

const SHOWN = 3, // places of an episode that are shown at first
  AROUND = 70; // characters of context on either side

// A pattern that matches the words as they stand, in any case and with any white space between them; null for none.
function patternOf(query) {
  const parts = query.trim().split(/\s+/).filter(Boolean);
  return parts.length ? new RegExp(parts.map((part) => part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("\\s+"), "iu") : null;
}

// Resolves to {"run/id": [{text, what, turn}]} in the order of the episode; turn: null for what is no turn's.
async function searchTexts(pattern) {
  const found = new Map();
  for (let run = 0; run < RUNS.length; run++) {
    const { texts, rows } = await textsOf(run),
      hits = new Set();
    texts.forEach((text, i) => pattern.test(text) && hits.add(i));
    if (!hits.size) continue;
    rows.forEach((row, id) => {
      if (!row.some((i) => hits.has(i))) return;
      const isPlanned = row[1] < 0 && episodesOf(run)[id].subgoals > 0; // by itself: its first turn is the blueprint
      const places = row.flatMap((i, at) => (hits.has(i) ? [{ text: texts[i], ...placeIn(at, isPlanned) }] : []));
      found.set(`${run}/${id}`, places);
    });
  }
  return found;
}

// A row is [instruction, given blueprint, completion of turn 0, answer, completion of turn 1, ...].
function placeIn(at, isPlanned) {
  if (at === 2 && isPlanned) return { what: "blueprint", turn: 0 };
  if (at < 2) return { what: at ? "blueprint" : "task", turn: null };
  const turn = (at - 2) >> 1;
  return { what: at % 2 ? `answer to turn ${turn + 1}` : `turn ${turn + 1}`, turn };
}

// The text around the first match, which is marked.
function inContext(text, pattern) {
  const at = text.search(pattern);
  const [match] = text.match(pattern);
  const from = Math.max(0, at - AROUND),
    to = at + match.length + AROUND;
  const flat = (part) => part.replace(/\s+/g, " ");
  return [
    (from ? "…" : "") + flat(text.slice(from, at)),
    el("mark", flat(match)),
    flat(text.slice(at + match.length, to)) + (to < text.length ? "…" : ""),
  ];
}

function foundLine(e, place, pattern) {
  const address = `#episode/${e.run}/${e.id}${place.turn === null ? "" : `?turn=${place.turn}`}`;
  return el("li", el("a", { href: address }, place.what), " ", el("span.context", inContext(place.text, pattern)));
}

function foundList(e, places, pattern) {
  const list = el("ul.places-found", places.slice(0, SHOWN).map((place) => foundLine(e, place, pattern)));
  const rest = places.slice(SHOWN);
  if (!rest.length) return list;
  const more = el(
    "button",
    { type: "button", onclick: () => more.parentNode.replaceWith(...rest.map((place) => foundLine(e, place, pattern))) },
    `${whole(rest.length)} more in this episode`,
  );
  list.append(el("li", more));
  return list;
}
