// Tokens, exactly those the model sampled: text from the run's own tokenizer (or ids), coloured by advantage or
// log-probability, numbers under the pointer. What was not trained on is not coloured by advantage.

const COLOURINGS = { none: "plain", advantage: "advantage", logp: "log-probability" };
const MEANINGS = {
  none: "",
  get advantage() {
    if (largestAdvantage() <= 1e-9) return "no episode in this report has an advantage";
    const most = brief(largestAdvantage());
    return `green: better than its peers, red and underlined: worse; full at ±${most}, the largest of any episode in this report`;
  },
  logp: "violet: the model was unsure; the deeper, the less likely the token (full at p = 0.05)",
};
let colouring = "advantage";

// One scale for every bar and colour of the page, so that they can be compared: the largest advantage of a kept episode.
const largest = new WeakMap();
function largestAdvantage() {
  if (!largest.has(DATA)) {
    const sizes = RUNS.flatMap((_, run) => episodesOf(run).map((e) => Math.abs(e.advantage ?? 0)));
    largest.set(
      DATA,
      sizes.reduce((a, b) => Math.max(a, b), 1e-9),
    );
  }
  return largest.get(DATA);
}
const scaleNote = () => `Bars end at ±${brief(largestAdvantage())}, the largest advantage of any episode in this report.`;

// Ids from 2**30 on are a picture's: a run of them is shown as one.
const FIRST_OF_PICTURES = 2 ** 30;
function withoutPictures(ids) {
  const found = [];
  ids.forEach((id, at) => {
    const isPicture = id >= FIRST_OF_PICTURES;
    if (isPicture && found.at(-1)?.count) found.at(-1).count += 1;
    else found.push({ id, at, count: isPicture ? 1 : 0 });
  });
  return found;
}

const tokenText = (run, id) => RUNS[run].vocabulary?.[id] ?? `⟨${id}⟩`;

// Per context: where its sampled tokens' log-probabilities lie, (position) -> log-probability.
function logpsOf(context) {
  const found = new Map();
  let next = 0;
  for (const [start, end] of context.sampled)
    for (let at = start; at < end; at++) found.set(at, context.logps[next++]);
  return found;
}

// tokens: [{id, at, logp, advantage}] ; advantage null: sampled but not trained; logp undefined: not sampled.
function tokenRow(run, tokens) {
  const row = el("span.tokens");
  for (const token of tokens) {
    const text = token.count ? `▦ picture, ${plural(token.count, "token")}` : tokenText(run, token.id),
      node = el("span.token", shown(text));
    if (token.logp === undefined) node.classList.add("prompt");
    else if (!isNumber(token.advantage)) node.classList.add("untrained");
    paint(node, token);
    node.dataset.said = said(token, text);
    row.append(node, text.includes("\n") ? el("br") : "");
  }
  return row;
}

const shown = (text) => text.replaceAll("\n", "↵") || "∅";

function said(token, text) {
  const parts = [JSON.stringify(text), `id ${token.id}`, `position ${token.at}`];
  if (token.logp === undefined) return [...parts, "prompt: mask 0"].join(" · ");
  parts.push(`log p ${brief(token.logp)}`, `p ${brief(Math.exp(token.logp))}`);
  parts.push(
    isNumber(token.advantage)
      ? `advantage ${signed(token.advantage, 3)} · trained: mask 1`
      : "sampled, not trained in this phase",
  );
  return parts.join(" · ");
}

function paint(node, token) {
  if (token.logp === undefined) return;
  if (colouring === "advantage" && isNumber(token.advantage) && token.advantage !== 0) {
    node.classList.add(token.advantage > 0 ? "good" : "bad");
    node.style.setProperty("--depth", 0.2 + 0.8 * Math.min(1, Math.abs(token.advantage) / largestAdvantage()));
  }
  if (colouring === "logp") {
    node.classList.add("sure");
    node.style.setProperty("--depth", Math.min(1, -token.logp / 3));
  }
}

// One floating line for every token of the page.
function watchTokens() {
  const tip = document.getElementById("tip");
  const show = (event) => {
    const node = event.target.closest?.(".token");
    tip.hidden = !node;
    if (!node) return;
    tip.textContent = node.dataset.said;
    const box = node.getBoundingClientRect(),
      wide = tip.offsetWidth;
    tip.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - wide - 8))}px`;
    tip.style.top = `${box.top > 48 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true, capture: true });
}
