// What the world looked like: a Sokoban board as a picture one can also play, a household as its rooms and hands
// (household.js), a shop's page laid out (shop.js), any other world's board as its rows, or its text. A board comes with
// the episode, whatever the model was shown; where it could not be rebuilt, it is read off a text that shows one.

const CELLS = { "#": "wall", _: "floor", O: "target", "√": "done", X: "box", P: "player", S: "player-on" };
const MOVES = { up: [-1, 0], down: [1, 0], left: [0, -1], right: [0, 1] };

// Text of an observation -> rows of symbols, or null when it shows no board.
function readBoard(text) {
  const rows = text
    .split("\n")
    .map((line) => line.replace(/[\s]/g, ""))
    .filter((line) => line.length >= 3 && /^[#_O√XPS]+$/.test(line))
    .map((line) => [...line]);
  if (rows.length >= 3 && rows.some((row) => row.includes("P") || row.includes("S"))) return rows;
  return readCoordinates(text);
}

// The "coord" form of the board: positions in words.
function readCoordinates(text) {
  const spots = (name) =>
    [...(text.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1] ?? "").matchAll(/row (\d+) column (\d+)/g)].map((m) => [
      m[1] - 1,
      m[2] - 1,
    ]);
  const open = [...text.matchAll(/^open row (\d+): columns ([\d ]+)$/gm)].flatMap((m) =>
    m[2]
      .trim()
      .split(/\s+/)
      .map((c) => [m[1] - 1, c - 1]),
  );
  const [player] = spots("player");
  if (!player || !open.length || open.some(([r, c]) => r > 99 || c > 99)) return null;
  const high = Math.max(...open.map((o) => o[0])) + 2,
    wide = Math.max(...open.map((o) => o[1])) + 2;
  const rows = Array.from({ length: high }, () => Array(wide).fill("#"));
  const put = (list, symbol) =>
    list.forEach(([r, c]) => {
      if (rows[r]?.[c]) rows[r][c] = symbol(rows[r][c]);
    });
  put(open, () => "_");
  put(spots("targets"), () => "O");
  put(spots("boxes on targets"), () => "√");
  put(spots("boxes"), (under) => (under === "O" ? "√" : "X"));
  put([player], (under) => (under === "O" ? "S" : "P"));
  return rows;
}

// One move by the rules of Sokoban; the same board when nothing moves.
function pushed(rows, move) {
  const next = rows.map((row) => [...row]);
  const r = next.findIndex((row) => row.includes("P") || row.includes("S"));
  const c = next[r].findIndex((s) => s === "P" || s === "S");
  const [dr, dc] = MOVES[move];
  const at = (n) => next[r + n * dr]?.[c + n * dc] ?? "#";
  const put = (n, symbol) => (next[r + n * dr][c + n * dc] = symbol);
  if (at(1) === "#") return rows;
  if (at(1) === "X" || at(1) === "√") {
    if (!"_O".includes(at(2))) return rows;
    put(2, at(2) === "O" ? "√" : "X");
    put(1, at(1) === "√" ? "O" : "_");
  }
  put(1, at(1) === "O" ? "S" : "P");
  next[r][c] = rows[r][c] === "S" ? "O" : "_";
  return next;
}

const solved = (rows) => !rows.some((row) => row.includes("X"));

// The room and its walls; rock behind the walls is left out.
function drawBoard(rows) {
  const around = [-1, 0, 1],
    isRoom = (r, c) => around.some((down) => around.some((right) => (rows[r + down]?.[c + right] ?? "#") !== "#")),
    room = rows.flatMap((row, r) => row.flatMap((symbol, c) => (isRoom(r, c) ? [{ symbol, r, c }] : [])));
  const [top, left] = [Math.min(...room.map(({ r }) => r)), Math.min(...room.map(({ c }) => c))],
    [low, right] = [Math.max(...room.map(({ r }) => r)), Math.max(...room.map(({ c }) => c))];
  return svg(
    "svg",
    {
      viewBox: `${10 * left} ${10 * top} ${10 * (right - left + 1)} ${10 * (low - top + 1)}`,
      class: "board",
      role: "img",
      "aria-label": rows.map((row) => row.join("")).join(" / "),
      "data-board": rows.map((row) => row.join("")).join("/"),
    },
    room.map(({ symbol, r, c }) => cell(CELLS[symbol], c * 10, r * 10)),
  );
}

function cell(kind, x, y) {
  const square = (name, inset, round = 0) =>
    svg("rect", {
      x: x + inset,
      y: y + inset,
      width: 10 - 2 * inset,
      height: 10 - 2 * inset,
      rx: round,
      class: name,
    });
  const ring = (name, radius) => svg("circle", { cx: x + 5, cy: y + 5, r: radius, class: name });
  if (kind === "wall") return [square("wall", 0)];
  const parts = [square("floor", 0.15)];
  if (["target", "done", "player-on"].includes(kind)) parts.push(ring("target", kind === "target" ? 2 : 4.3));
  if (kind === "box" || kind === "done") {
    parts.push(square(kind === "done" ? "box home" : "box", 1.5, 1.2));
    parts.push(svg("path", { d: `M${x + 3.2} ${y + 3.2}l3.6 3.6m0-3.6l-3.6 3.6`, class: "cross" }));
  }
  if (kind === "player" || kind === "player-on") parts.push(ring("player", 3));
  return parts;
}

// A picture that an agent saw stands in its text as <image:NAME>.
const PICTURE = /<image:([0-9a-f]{32})>/g;

// Text with pictures -> [pictures..., the rest as text].
function pictured(run, text) {
  const names = [...text.matchAll(PICTURE)].map((found) => found[1]);
  return { names, rest: text.replace(PICTURE, ""), nodes: names.map((name) => pictureOf(run, name)) };
}

// Squares stay sharp where a picture is enlarged; where it is shrunk, sharp would be torn.
function sized({ target }) {
  target.classList.toggle("over-thumb", target.naturalWidth > 96);
  target.classList.toggle("over-full", target.naturalWidth > 352);
}

function pictureOf(run, name) {
  const address = RUNS[run].images?.[name];
  return address
    ? el("img.picture", { src: address, alt: "what the agent saw", "data-image": name, onload: sized })
    : el("p.note", "(a picture that this page has no room for)");
}

// A board as its world gives it: Sokoban's drawn, any other's as rows of text.
function drawRows(run, board) {
  const rows = RUNS[run].world === "sokoban" ? readBoard(board) : null;
  return rows ? drawBoard(rows) : el("pre.world.rows", board);
}

// What happened in an episode, moment by moment: {text, turn, board}; the start's turn is null, and so is a board that
// nobody knows.
function momentsOf(detail, turns) {
  const boards = detail.boards ?? [];
  return [
    { text: detail.instruction, turn: null },
    ...turns.filter((turn) => turn.action !== null).map((turn) => ({ text: turn.observation, turn })),
  ].map((moment, i) => ({ ...moment, board: boards[Math.min(i, boards.length - 1)] ?? null }));
}

// Whether a text says no more than the board beside it: the same signs, spaced as they may be.
const squashed = (text) => text.replace(/\s/g, "");
const saysMore = (moment) => squashed(moment.text) !== "" && squashed(moment.text) !== squashed(moment.board ?? "");

// What the model was shown at a moment, where that is not the board itself.
function shownOf(run, moment) {
  const { names, rest, nodes } = pictured(run, moment.text);
  return [names.length ? el("div.pictures", nodes) : null, rest.trim() ? el("pre.world", rest.trim()) : null];
}

const noBoard = (detail) => (detail.unboarded ? el("p.note.unboarded", `No board: ${detail.unboarded}.`) : null);

// A task and its first state: what is asked for, the board or panel, and what the model was shown.
function taskHead(run, detail) {
  const [start] = momentsOf(detail, []),
    { goal, world } = RUNS[run],
    asked = goal ? el("p.lead", `${goal[0].toUpperCase()}${goal.slice(1).replace(/\.$/, "")}.`) : null;
  if (!start.board)
    return el(
      "div.task",
      el(
        "div.first",
        readBoard(start.text) ? el("div.thumb", drawBoard(readBoard(start.text))) : scene(run, [start], 0),
      ),
      el("div", asked, noBoard(detail)),
    );
  return el(
    "div.task",
    el(world === "sokoban" ? "div.first.thumb" : "div.first", drawRows(run, start.board)),
    el("div", asked, saysMore(start) ? [el("p.note", "The model was shown:"), shownOf(run, start)] : null),
  );
}

// The world at a step of `momentsOf`.
function scene(run, moments, step) {
  const { text, board } = moments[step],
    world = RUNS[run].world,
    seen = pictured(run, text);
  if (board) return drawRows(run, board);
  if (seen.names.length)
    return el("div.pictures", seen.nodes, seen.rest.trim() ? el("pre.world", seen.rest.trim()) : null);
  if (world === "webshop") return drawShop(readShop(moments[0].text).goal, text);
  if (world === "alfworld") {
    const home = household(
      moments[0].text,
      moments.slice(1, step + 1).map((moment) => moment.turn),
    );
    if (home.places.size) return drawHousehold(home, step ? text : "");
  }
  return el("pre.world", text.trim() || "(no text)");
}

// What the world answered to a turn, for the timeline.
function answerOf(run, text) {
  const world = RUNS[run].world,
    seen = pictured(run, text);
  if (seen.names.length)
    return el("div.thumbs", seen.nodes, seen.rest.trim() ? el("pre.world", seen.rest.trim()) : null);
  if (world === "webshop") return shopInBrief(text);
  return el(world === "alfworld" ? "p.world" : "pre.world", text.trim());
}
