// Line charts as SVG. One look: hairline grid, colour and dash both tell a line, bands for spread,
// points with whiskers for evaluations, a reading line under the pointer or moved with the arrow keys.

const WIDE = 340,
  HIGH = 168,
  EDGE = { left: 46, right: 10, top: 8, bottom: 24 };

// lines: [{name, colour, dash, marker, hollow, points: [[x, y]], band: [[x, low, high]], whiskers: bool}]
// marker: which of MARKERS its points have
function chart({ title, note, lines, unit = brief, floor = null, ceiling = null }) {
  const kept = lines.filter((line) => line.points.length);
  if (!kept.length) return null;
  const scale = scales(kept, floor, ceiling);
  const picture = svg("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    role: "img",
    tabindex: "0",
    "aria-label": `${title}: ${kept.map((line) => `${line.name} ends at ${unit(line.points.at(-1)[1])}`).join("; ")}`,
  });
  picture.append(grid(scale, unit));
  for (const line of kept) picture.append(drawn(line, scale));
  const reading = el("p.reading");
  follow(picture, kept, scale, unit, reading);
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

function grid(scale, unit) {
  const parts = scale.ticks.map((t) => [
    svg("line", { x1: EDGE.left, x2: WIDE - EDGE.right, y1: scale.y(t), y2: scale.y(t), class: "rule" }),
    svg("text", { x: EDGE.left - 6, y: scale.y(t) + 3.5, "text-anchor": "end" }, unit(t).replace(".0 %", " %")),
  ]);
  const middle = Math.round((scale.left + scale.right) / 2);
  const shown = [...new Set([scale.left, middle, scale.right])].filter(Number.isInteger);
  const below = shown.map((v) =>
    svg(
      "text",
      {
        x: scale.x(v),
        y: HIGH - 8,
        "text-anchor": v === scale.right ? "end" : v === scale.left ? "start" : "middle",
      },
      v,
    ),
  );
  return svg("g", { class: "grid" }, parts, below);
}

function drawn(line, { x, y }) {
  const group = svg("g");
  group.style.color = line.colour;
  if (line.band?.length && !line.whiskers) {
    const there = line.band.map((b) => `${x(b[0])},${y(b[2])}`);
    const back = line.band.toReversed().map((b) => `${x(b[0])},${y(b[1])}`);
    group.append(svg("polygon", { points: [...there, ...back].join(" "), class: "band" }));
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
  if (line.whiskers || line.points.length === 1)
    for (const [at, v] of line.points) group.append(marker(line, x(at), y(v)));
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

function follow(picture, lines, scale, unit, reading) {
  const rule = svg("line", { y1: EDGE.top, y2: HIGH - EDGE.bottom, class: "cursor", visibility: "hidden" });
  picture.append(rule);
  let place = -1;
  const show = (next) => {
    place = Math.max(0, Math.min(scale.places.length - 1, next));
    const at = scale.places[place];
    assign(rule, { x1: scale.x(at), x2: scale.x(at), visibility: "visible" });
    const said = lines.flatMap((line) => {
      const point = line.points.find((p) => p[0] === at);
      const band = line.band?.find((b) => b[0] === at);
      return point ? [`${line.name} ${unit(point[1])}${band ? ` [${unit(band[1])}, ${unit(band[2])}]` : ""}`] : [];
    });
    reading.textContent = `iteration ${at}: ${said.join(" · ")}`;
  };
  const hide = () => {
    rule.setAttribute("visibility", "hidden");
    reading.textContent = "";
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(),
      at = ((event.clientX - box.left) / box.width) * WIDE;
    const near = scale.places.map((v) => Math.abs(scale.x(v) - at));
    show(near.indexOf(Math.min(...near)));
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      show(place < 0 ? scale.places.length - 1 : place + step);
    }
  });
}
