// The data that the page carries (bench/render/page/data.py), and what can be said of a case.
//
// Names and reasons may come from anywhere. They enter the page through textContent only, and what
// goes to Plotly, which reads a little HTML in its labels, goes through plain().

const data = JSON.parse(document.getElementById("results").textContent);
const { sections, words, works, looks } = data;
const { count } = data;
// What all cases have in common is carried once, and what none has not at all.
const cases = new Proxy(data.cases, { get: (all, key) => (all[key] ??= new Array(count).fill(data.same[key] ?? null)) });
const all = Array.from({ length: count }, (_, index) => index);
const $ = (id) => document.getElementById(id);
const narrow = () => innerWidth < 640;
const lowest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const highest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/** Text for Plotly's labels: nothing in it is markup or a formula; of a long one the beginning. */
function plain(text, most = 80) {
  const letters = [...String(text).slice(0, 4 * most)].filter((c) => !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(c));
  const kept = letters.length > most ? letters.slice(0, most - 1).join("") + "…" : letters.join("");
  return kept.replace(/[&<>$]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
/** An element with text in it, and attributes or children. */
function made(tag, text = "", { kind = "", children = [], ...attributes } = {}) {
  const found = document.createElement(tag);
  if (text) found.textContent = text;
  if (kind) found.className = kind;
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}
const word = (key, i) => words[key][cases[key][i]] ?? "";
const backend = (i) => word("backend", i);
const workOf = (i) => works.text[cases.work[i]];
const capital = (text) => text.replace(/^b/, "B");
const where = (i) => `${word("mode", i)} on ${word("device", i)}, ${word("dtype", i)}`;

// ---- what is known of a case

const measured = (i) => cases.time_s[i] != null;
const ownInvalid = (i) => cases.valid[i] === 0;
const invalid = (i) => ownInvalid(i) || cases.ratio_valid[i] === 0;
const doubtful = (i) => !ownInvalid(i) && cases.time_valid[i] === 0;
const outcome = (i) => word("outcome", i).replace(/_/g, " ");
const trusted = (i) => (measured(i) ? (invalid(i) ? "INVALID" : doubtful(i) ? "doubtful time" : "trusted") : outcome(i));
const why = (i) =>
  [word("invalid_reasons", i) || word("ratio_reasons", i), doubtful(i) ? word("time_reasons", i) : "", word("reason", i), word("advice", i)].filter(Boolean).join(" · ");
const baselineOf = (i) => sections[cases.section[i]].baseline;
const isBaseline = (i) => cases.backend[i] === baselineOf(i);
const baseName = (i) => words.backend[baselineOf(i)] ?? "the baseline";
const sequences = (i) => (measured(i) ? cases.batch[i] / cases.time_s[i] : null);
const perTimestep = (i) => cases.time_s[i] / cases.timesteps[i];

/** How many times as fast as its session's baseline, [low, mid, high]: the report's paired estimate. */
function speedup(i) {
  if (!measured(i)) return null;
  if (isBaseline(i)) return [1, 1, 1];
  if (cases.speedup[i] == null) return null;
  return [cases.speedup_low[i] ?? 0, cases.speedup[i], cases.speedup_high[i] ?? Infinity];
}
/** The bounds of a time, with their level where few samples cannot give 95%; `parts`: of so many. */
function bounds(i, parts = 1) {
  const level = cases.confidence[i] ?? 0;
  if (level <= 0 || cases.time_low_s[i] == null) return "";
  const told = secondsRange(cases.time_low_s[i] / parts, (cases.time_high_s[i] ?? Infinity) / parts, cases.time_s[i] / parts);
  return level < 0.95 - 1e-9 ? `${told} (${percent(level)})` : told;
}
function speedWords(i) {
  const quick = speedup(i);
  if (!quick) return "";
  return isBaseline(i) ? "1× (baseline)" : `${ratio(quick[1])}× ${word("verdict", i)}`;
}
/** Lines for a case, for pointing at it. */
function hover(i, ...more) {
  const quick = speedup(i);
  return [
    plain(backend(i)), plain(workOf(i)), plain(where(i)),
    measured(i) ? `${seconds(cases.time_s[i])} a step (${bounds(i)})` : "",
    quick && !isBaseline(i) ? `${ratio(quick[1])} times as fast as ${plain(baseName(i), 40)} (${ratioRange(quick[0], quick[2])}, ${word("verdict", i)})` : "",
    invalid(i) ? "INVALID" : doubtful(i) ? "doubtful time" : "",
    ...more,
  ].filter(Boolean).join("<br>");
}

// ---- amounts of work

const byWork = works.text.map(() => []);
for (const i of all) byWork[cases.work[i]].push(i);
/** The cases of a work with a time, the fastest first. */
const ranked = (work) => (byWork[work] ?? []).filter(measured).sort((a, b) => cases.time_s[a] - cases.time_s[b]);
/** The works of these cases of which any has a time. */
const worksOf = (chosen) => [...new Set(chosen.filter(measured).map((i) => cases.work[i]))];
const values = (key) => [...new Set(cases[key])].filter((v) => v != null).sort((a, b) => a - b);

// ---- how backends look: by name, as in every picture of the suite (bench/telling/drawing.py)

const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left"];
// The same on a field of 16 by 16.
const OUTLINES = [
  "M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14z", "M2 2h12v12h-12z", "M8 1l7.5 13h-15z", "M8 0l8 8l-8 8l-8-8z",
  "M8 15l7.5-13h-15z", "M5.5 1h5v4.5h4.5v5h-4.5v4.5h-5v-4.5h-4.5v-5h4.5z",
  "M1 4l3-3l4 4l4-4l3 3l-4 4l4 4l-3 3l-4-4l-4 4l-3-3l4-4z", "M1 8l13-7.5v15z",
];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const colour = (number) => looks[number][0];
const shape = (number) => looks[number][1];
const symbol = (i) => SYMBOLS[shape(cases.backend[i])] + (invalid(i) ? "-open" : "");
const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** The mark of a backend; hollow where what it stands for is INVALID. */
function mark(number, hollow = false) {
  const svg = $("mark").cloneNode(true);
  const path = svg.firstElementChild;
  svg.removeAttribute("id");
  svg.removeAttribute("hidden");
  path.setAttribute("d", OUTLINES[shape(number)]);
  path.style.fill = hollow ? "var(--back)" : colour(number);
  path.style.stroke = colour(number);
  path.style.strokeWidth = "2";
  return svg;
}
/** A name that breaks, where it must, before its options. */
const breakable = (name) => name.split(/(?=[+@])/).flatMap((part, place) => (place ? [made("wbr"), part] : [part]));
function legend(numbers) {
  return made("p", "", { kind: "legend", children: [...new Set(numbers)].sort((a, b) => a - b).map((number) =>
    made("span", "", { children: [mark(number), words.backend[number]] })) });
}
