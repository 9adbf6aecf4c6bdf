// Line charts as SVG. One look: hairline grid, colour, dash and marker all tell a line, bands for spread, points with
// whiskers for evaluations, a reading line under the pointer or moved with the arrow keys, and from a point the way to
// the episodes behind it.

const WIDE = 340,
  HIGH = 186,
  EDGE = { left: 66, right: 12, top: 8, bottom: 38 };

// lines: [{name, colour, dash, marker, hollow, points: [[x, y, address]], band: [[x, low, high]], whiskers: bool}]
// marker: which of MARKERS its points have; address: of a point's episodes, null where the page has none
// below: {label, say: (x) -> text, isWhole} of the x axis
function chart({ title, note, lines, unit = brief, floor = null, ceiling = null, label, below }) {
  const kept = lines.filter((line) => line.points.length);
  if (!kept.length) return null;
  const scale = scales(kept, floor, ceiling);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    role: "img",
    tabindex: "0",
    "aria-label": `${title}: ${kept.map((line) => `${line.name} ends at ${unit(line.points.at(-1)[1])}`).join("; ")}`,
  });
  picture.append(grid(scale, unit, below), names(label, below.label));
  for (const line of kept) picture.append(drawn(line, scale));
  const reading = el("p.reading");
  follow(picture, kept, scale, { unit, below, reading });
  return el("figure.chart", el("figcaption", el("b", title), note ? el("span", note) : null), picture, reading);
}

function scales(lines, floor, ceiling) {
  const xs = lines.flatMap((line) => line.points.map((p) => p[0]));
  const ys = lines.flatMap((line) => [
    ...line.points.map((p) => p[1]),
    ...(line.band ?? []).flatMap((b) => [b[1], b[2]]),
  ]);
  let [left, right] = [Math.min(...xs), Math.max(...xs)];
  if (left === right) [left, right] = [left - 0.5, right + 0.5];
  const ticks = niceTicks(floor ?? Math.min(...ys), ceiling ?? Math.max(...ys));
  const [low, high] = [floor ?? Math.min(ticks[0], ...ys), ceiling ?? Math.max(ticks.at(-1), ...ys)];
  const x = (v) => EDGE.left + ((v - left) / (right - left)) * (WIDE - EDGE.left - EDGE.right);
  const y = (v) => HIGH - EDGE.bottom - ((v - low) / (high - low || 1)) * (HIGH - EDGE.top - EDGE.bottom);
  const places = [...new Set(xs)].sort((a, b) => a - b);
  return { x, y, left, right, places, ticks: ticks.filter((t) => t >= low - 1e-12 && t <= high + 1e-12) };
}

function niceTicks(low, high) {
  if (!(high > low)) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) / 2, low + Math.abs(low) / 2];
  const rough = (high - low) / 3,
    unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 2.5, 5, 10].find((m) => m * unit >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.floor(low / step + 1e-9); i * step < high + step * 0.999; i++) ticks.push(i * step);
  return ticks;
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function grid(scale, unit, below) {
  const parts = scale.ticks.map((t) => [
    svg("line", { x1: EDGE.left, x2: WIDE - EDGE.right, y1: scale.y(t), y2: scale.y(t), class: "rule" }),
    svg("text", { x: EDGE.left - 6, y: scale.y(t) + 3.5, "text-anchor": "end" }, unit(t).replace(".0 %", " %")),
  ]);
  const middle = Math.round((scale.left + scale.right) / 2);
  const shown = below.isWhole
    ? [...new Set([scale.left, middle, scale.right])].filter(Number.isInteger)
    : niceTicks(scale.left, scale.right).filter((t) => t >= scale.left && t <= scale.right);
  const under = shown.map((v) =>
    svg(
      "text",
      {
        x: scale.x(v),
        y: HIGH - EDGE.bottom + 14,
        "text-anchor": v === scale.right ? "end" : v === scale.left ? "start" : "middle",
      },
      below.isWhole ? v : short.format(v),
    ),
  );
  return svg("g", { class: "grid" }, parts, under);
}

// What the axes measure, with their units.
function names(label, below) {
  const middle = (HIGH - EDGE.bottom + EDGE.top) / 2;
  return svg(
    "g",
    { class: "names" },
    svg("text", { x: (EDGE.left + WIDE - EDGE.right) / 2, y: HIGH - 6, "text-anchor": "middle" }, below),
    svg("text", { x: 10, y: middle, "text-anchor": "middle", transform: `rotate(-90 10 ${middle})` }, label),
  );
}

function drawn(line, { x, y }) {
  const group = svg("g");
  group.style.color = line.colour;
  if (line.band?.length && !line.whiskers) {
    const there = line.band.map((b) => `${x(b[0])},${y(b[2])}`);
    const back = line.band.toReversed().map((b) => `${x(b[0])},${y(b[1])}`);
    group.append(svg("polygon", { points: [...there, ...back].join(" "), class: "band" }));
    for (const edge of [there, back])
      group.append(svg("polyline", { points: edge.join(" "), class: "edge", "stroke-dasharray": line.dash || null }));
  }
  if (line.whiskers) {
    for (const [at, low, high] of line.band ?? [])
      group.append(svg("line", { x1: x(at), x2: x(at), y1: y(low), y2: y(high), class: "whisker" }));
  }
  if (line.points.length > 1 && !line.isBare) {
    group.append(
      svg("polyline", {
        points: line.points.map((p) => `${x(p[0])},${y(p[1])}`).join(" "),
        class: "line",
        "stroke-dasharray": line.dash || null,
      }),
    );
  }
  const isMarked = line.whiskers || isNumber(line.marker) || line.points.length === 1,
    every = line.whiskers ? 1 : Math.ceil(line.points.length / 8); // a marker on each point would hide a long line
  if (isMarked)
    line.points.forEach(([at, v], i) => i % every === 0 && group.append(marker(line, x(at), y(v))));
  return group;
}

// Circle, square, triangle, diamond, triangle on its tip, bar: runs are told apart without colour too.
const MARKERS = [
  "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
  "M-3-3h6v6h-6z",
  "M0-4l4 7h-8z",
  "M0-4l4 4l-4 4l-4-4z",
  "M0 4l4-7h-8z",
  "M-4-1.5h8v3h-8z",
];
const marker = (line, x, y) =>
  svg("path", {
    d: MARKERS[(line.marker ?? 0) % MARKERS.length],
    transform: `translate(${x} ${y})`,
    class: line.hollow ? "dot hollow" : "dot",
  });

// The reading line: what the lines are at one place, each a link to its episodes. The pointer takes the nearest place
// and line, ← → and ↑ ↓ move between them; a click or Enter opens the episodes. A tap only reads: the links open.
function follow(picture, lines, scale, { unit, below, reading }) {
  const rule = svg("line", { y1: EDGE.top, y2: HIGH - EDGE.bottom, class: "cursor", visibility: "hidden" });
  const ring = svg("circle", { r: 6, class: "ring", visibility: "hidden" });
  picture.append(rule, ring);
  let place = -1,
    chosen = 0;
  const here = () =>
    lines.flatMap((line) => {
      const point = line.points.find((p) => p[0] === scale.places[place]);
      return point ? [{ line, point, band: line.band?.find((b) => b[0] === point[0]) }] : [];
    });
  const show = (next, pick = 0) => {
    place = Math.max(0, Math.min(scale.places.length - 1, next));
    const at = scale.places[place],
      there = here();
    chosen = Math.max(0, Math.min(there.length - 1, pick));
    assign(rule, { x1: scale.x(at), x2: scale.x(at), visibility: "visible" });
    assign(ring, { cx: scale.x(at), cy: scale.y(there[chosen].point[1]), visibility: "visible" });
    picture.classList.toggle("opens", Boolean(there[chosen].point[2]));
    reading.replaceChildren(
      `${below.say(at)}: `,
      ...there.flatMap(({ line, point, band }, i) => {
        const text = `${line.name} ${unit(point[1])}${band ? ` [${unit(band[1])}, ${unit(band[2])}]` : ""}`;
        const part = point[2] ? el("a", { href: point[2], title: "its episodes" }, text) : el("span", text);
        if (i === chosen && there.length > 1) part.classList.add("chosen");
        return i ? [" · ", part] : [part];
      }),
    );
  };
  const hide = () => {
    for (const part of [rule, ring]) part.setAttribute("visibility", "hidden");
    picture.classList.remove("opens");
    reading.textContent = "";
    place = -1;
  };
  const open = () => {
    const address = place < 0 ? null : here()[chosen]?.point[2];
    if (address) location.hash = address;
  };
  const nearest = (values, to) => {
    const far = values.map((v) => Math.abs(v - to));
    return far.indexOf(Math.min(...far));
  };
  const point = (event) => {
    const box = picture.getBoundingClientRect(),
      k = WIDE / box.width;
    place = nearest(scale.places.map(scale.x), (event.clientX - box.left) * k);
    show(place, nearest(here().map((found) => scale.y(found.point[1])), (event.clientY - box.top) * k));
  };
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !reading.matches(":focus-within") && hide());
  picture.addEventListener("click", (event) => {
    if (event.pointerType !== "touch") open();
  });
  picture.addEventListener("blur", (event) => reading.contains(event.relatedTarget) || hide());
  picture.addEventListener("keydown", (event) => {
    const last = scale.places.length - 1;
    if (event.key === "Enter") open();
    else if (event.key === "ArrowLeft") show(place < 0 ? last : place - 1, chosen);
    else if (event.key === "ArrowRight") show(place < 0 ? last : place + 1, chosen);
    else if (event.key === "ArrowUp") show(place < 0 ? last : place, chosen - 1);
    else if (event.key === "ArrowDown") show(place < 0 ? last : place, chosen + 1);
    else return;
    event.preventDefault();
  });
}
