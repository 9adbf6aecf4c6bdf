// WebShop's pages as text, laid out: the goal, what can be pressed, products with their prices, what was bought.
// One idea: a page is a list of parts, each a word to press or a text; both of WebShop's notations are read.

const PRESSED = new Set([
  "Search",
  "Back to Search",
  "< Prev",
  "Next >",
  "Description",
  "Features",
  "Reviews",
  "Attributes",
  "Buy Now",
]);
const PRICE = /^\$[\d.,]+( to \$[\d.,]+)?$/;

// Text -> [{text, kind}] with kind "text", "button" or "chosen" (a button that was pressed).
function shopParts(text) {
  if (text.includes("[SEP]"))
    return text
      .split(/\s*\[SEP\]\s*/)
      .filter(Boolean)
      .map((part) => ({ text: part, kind: PRESSED.has(part) ? "button" : "text" }));
  return text
    .split("\n")
    .filter((line) => line.trim())
    .map((line) => {
      const pressed = line.match(/^\s*\[(clicked )?button\] (.*) \[(?:clicked )?button_\]\s*$/);
      return pressed
        ? { text: pressed[2], kind: pressed[1] ? "chosen" : "button" }
        : { text: line.trim(), kind: "text" };
    });
}

// Text of a page -> {goal, parts}: the instruction, and the rest; goal "" where the page does not repeat it.
function readShop(text) {
  const parts = shopParts(text),
    at = parts.findIndex((part) => part.text === "Instruction:");
  if (at < 0) return { goal: "", parts };
  return {
    goal: parts[at + 1]?.text ?? "",
    parts: [...parts.slice(0, at), ...parts.slice(at + 2)].filter((part) => part.text !== "WebShop"),
  };
}

function drawShop(goal, text) {
  const page = readShop(text),
    bought = purchase(page.parts);
  return el(
    "div.world.shop",
    el("p.goal", page.goal || goal),
    bought
      ? el(
          "dl.self",
          bought.map(([name, what]) => [el("dt", name), el("dd", what)]),
        )
      : layOut(page.parts),
  );
}

// Runs of short parts stand in a row; on a page of results each product is a line.
function layOut(parts) {
  const found = [],
    isList = parts.some((part) => /^Page \d+ \(Total results: \d+\)$/.test(part.text));
  for (let i = 0; i < parts.length; i++) {
    const [id, title, price] = parts.slice(i, i + 3);
    if (isList && price && PRICE.test(price.text) && !PRESSED.has(id.text)) {
      found.push(
        el(
          "p.product",
          chip({ ...id, kind: id.kind === "text" ? "button" : id.kind }),
          el("span", title.text),
          el("b", price.text),
        ),
      );
      i += 2;
    } else if (id.kind === "text" && (isLong(id) || PRICE.test(parts[i + 1]?.text.replace("Price: ", ""))))
      found.push(el("p", id.text));
    else row(found).append(chip(id));
  }
  return found;
}

const isLong = (part) => part.text.length > 40 || /^(Price|Rating|Page|Your) ?[:\d\w]/.test(part.text);
const chip = (part) => el(`span.chip.${part.kind}`, part.text);

function row(found) {
  if (!found.at(-1)?.classList.contains("chips")) found.push(el("p.chips"));
  return found.at(-1);
}

// What was bought, as [name, text] pairs; null on any other page.
function purchase(parts) {
  const after = (name) => parts[parts.findIndex((part) => part.text.startsWith(name)) + 1]?.text ?? "";
  if (!parts[0]?.text.startsWith("Thank you for shopping")) return null;
  return [
    ["bought", after("asin")],
    ["options", after("options")],
    ["score", brief(Number(after("Your score")))],
  ];
}

// A page in a few lines, for the timeline; the goal stands above it already.
function shopInBrief(text) {
  const { parts } = readShop(text);
  return el(
    "p.world",
    (purchase(parts)?.map((pair) => pair.join(" ")) ?? parts.map((part) => part.text)).join(" · "),
  );
}
