// ALFWorld as a room and an inventory: where the agent stands, the receptacles with what was last seen in them,
// what it carries. One idea: read off the recorded sentences alone, so the panel shows what the agent could know
// at that step, not what was true; both generations of ALFWorld's wording are read.

const THING = /\ban? ([^,.]*? \d+)/g;
const named = (text) => [...text.matchAll(THING)].map((m) => m[1]);

const householdTask = (instruction) => instruction.match(/Your task is to: ([^\n]*)/)?.[1];

// First observation and the turns so far -> {task, places: Map(name -> {state, things, step}), here, held, traits}.
// state: "open", "closed" or "" (not told); things: null before any was; whole: whether these were all; step: of the
// last news.
function household(instruction, turns) {
  const room = instruction.match(/you see ([^\n]*)/i)?.[1] ?? "";
  const home = {
    task: householdTask(instruction) ?? "",
    here: [],
    held: [],
    traits: new Map(),
    places: new Map(),
  };
  for (const name of named(room)) placeOf(home, name);
  turns.forEach(({ action, observation }, i) => live(home, action ?? "", observation ?? "", i + 1));
  return home;
}

function placeOf(home, name) {
  if (!home.places.has(name)) home.places.set(name, { state: "", things: null, whole: false, step: 0 });
  return home.places.get(name);
}

// What one answer of the world tells. "Nothing happens." tells nothing.
function live(home, action, text, step) {
  const told = (pattern) => text.match(pattern)?.slice(1);
  const tell = (name, news) => Object.assign(placeOf(home, name), news, { step });
  const drop = (list, thing) => list.filter((other) => other !== thing);
  const mark = (thing, trait, ...gone) =>
    home.traits.set(thing, [
      ...(home.traits.get(thing) ?? []).filter((t) => t !== trait && !gone.includes(t)),
      trait,
    ]);
  const contents = told(/On the (.+? \d+), you see ([^\n]*)/),
    opened = told(/The (.+? \d+) is open\. In it, you see ([^\n]*)/);
  const shut = told(/The (.+? \d+) is closed/) ?? told(/^You close the (.+? \d+)\./);
  if (contents) tell(contents[0], { things: named(contents[1]), whole: true });
  if (opened) tell(opened[0], { state: "open", things: named(opened[1]), whole: true });
  if (shut) tell(shut[0], { state: "closed" });
  if (text.startsWith("You arrive at "))
    home.here = [(contents ?? opened ?? shut)?.[0] ?? action.replace(/^go to /, "")];
  const facing = told(/^You are facing the (.+?)\. Next to it/);
  if (facing) home.here = facing[0].split(/,? and |, /).map((name) => name.replace(/^the /, ""));
  if (text.startsWith("You are in the middle of a room")) home.here = [];
  const took = told(/^You pick up the (.+? \d+) from the (.+? \d+)\./);
  if (took) {
    home.held = [...drop(home.held, took[0]), took[0]];
    const before = placeOf(home, took[1]).things;
    tell(took[1], { things: before && drop(before, took[0]) });
  }
  const put = told(/^You (?:put|move) the (.+? \d+) (?:in\/on|in|on|to) the (.+? \d+)\./);
  if (put) {
    home.held = drop(home.held, put[0]);
    tell(put[1], { things: [...drop(placeOf(home, put[1]).things ?? [], put[0]), put[0]] });
  }
  const carried = told(/^You are (?:carrying: ([^\n]*)|not carrying anything)/);
  if (carried) home.held = named(carried[0] ?? "");
  const changed = told(/^You (heat|cool|clean) the (.+? \d+) using /);
  if (changed)
    mark(
      changed[1],
      { heat: "hot", cool: "cold", clean: "clean" }[changed[0]],
      ...(changed[0] === "clean" ? [] : ["hot", "cold"]),
    );
  const sliced = told(/^You sliced the (.+? \d+) with /),
    lit = told(/^You turn on the (.+? \d+)\./);
  if (sliced) mark(sliced[0], "sliced");
  if (lit) mark(lit[0], "on");
}

// The panel of a moment; `said` is what the world answered last.
function drawHousehold(home, said) {
  const seen = [...home.places].filter(([name, place]) => place.step || home.here.includes(name));
  const unseen = [...home.places.keys()].filter((name) => !seen.some(([other]) => other === name));
  return el(
    "div.world.house",
    home.task ? el("p.goal", home.task) : null,
    el(
      "dl.self",
      el("dt", "at"),
      el("dd.here", home.here.join(", ") || "the middle of the room"),
      el("dt", "carries"),
      el("dd.held", home.held.length ? things(home, home.held) : "nothing"),
    ),
    seen.length
      ? el(
          "ul.places",
          seen.sort(byName).map(([name, place]) => placeLine(home, name, place)),
        )
      : null,
    unseen.length ? el("p.unseen", el("span", "not visited: "), shortNames(unseen)) : null,
    said ? el("p.answered", said) : null,
  );
}

function placeLine(home, name, place) {
  const here = home.here.includes(name),
    isPart = place.things !== null && !place.whole;
  return el(
    "li",
    {
      "data-place": name,
      "data-state": place.state || null,
      "data-things": place.things?.join(", ") ?? null,
      "data-part": isPart,
      "aria-current": here ? "location" : null,
      class: here ? "now" : null,
    },
    el("b", name),
    el("span", place.state ? el("span.state", place.state) : null, insideOf(home, place)),
  );
}

function insideOf(home, place) {
  if (place.things === null) return place.state === "closed" ? "" : "not looked at";
  const rest = place.state === "closed" ? " (when it was open)" : place.whole ? "" : " (the rest not looked at)";
  return (place.things.length ? things(home, place.things) : "empty") + rest;
}

const things = (home, names) =>
  names.map((name) => name + (home.traits.has(name) ? ` (${home.traits.get(name).join(", ")})` : "")).join(", ");
const byName = ([a], [b]) => a.localeCompare(b, "en", { numeric: true });

// ["drawer 2", "drawer 1", "bed 1"] -> "bed 1 · drawer 1, 2"
function shortNames(names) {
  const kinds = new Map();
  for (const name of [...names].sort((a, b) => byName([a], [b]))) {
    const [, kind, number] = name.match(/^(.*) (\d+)$/);
    kinds.set(kind, [...(kinds.get(kind) ?? []), number]);
  }
  return [...kinds].map(([kind, numbers]) => `${kind} ${numbers.join(", ")}`).join(" · ");
}
