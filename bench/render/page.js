"use strict";
// The form, the filters and the plots of the page. They show the data that bench/render/page.py
// writes into it. Texts in the data are not trusted: the script sets them only as textContent, and
// passes Plotly's labels through plain().
(() => {
const data = JSON.parse(document.getElementById("results").textContent);
const { cases, works, backends, sections, whys } = data;
const $ = (id) => document.getElementById(id);
const all = [...cases.work.keys()];
const KEYS = [...data.sizes, ...data.choices];
const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
const number = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
const state = { tab: "answer", question: "", work: null, page: 0, chosen: [], ownInput: false, ownAxis: false, mapMode: false };

function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties))
    if (key in made && !key.startsWith("aria")) made[key] = value;
    else made.setAttribute(key, value);
  made.append(...children);
  return made;
}
/** Escape text for Plotly's labels, which interpret some HTML and formulas. */
function plain(text, most = 60) {
  const letters = [...String(text).slice(0, 4 * most)].filter((c) => !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(c));
  const kept = letters.length > most ? letters.slice(0, most - 1).join("") + "…" : letters.join("");
  return kept.replace(/[&<>$%{}]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
function table(caption, headings, rows, most = 200) {
  const title = rows.length > most ? `${caption} (the first ${most} of ${rows.length.toLocaleString("en")})` : caption;
  const cell = (text, place) => (place ? el("td", { className: [standing(text), text ? "" : "empty"].join(" ").trim(), "data-label": headings[place] }, text) : el("th", { scope: "row" }, text));
  return scrolling(caption, el("table", { className: "cards" }, el("caption", {}, title),
    el("thead", {}, el("tr", {}, ...headings.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.slice(0, most).map((row) => el("tr", {}, ...row.map(cell))))));
}
/** Let a name break after each underscore and plus. */
const breakable = (text) => text.slice(0, 100).split(/(?<=[_+])/).flatMap((part, n) => (n ? [el("wbr"), part] : [part]));
/** Return the class of a verdict, which gives it a colour and a sign. */
const standing = (text) => ({ FASTER: "good", SLOWER: "bad", UNCLEAR: "unclear", INVALID: "invalid" }[String(text).split(/[ ,(]/)[0]] ?? "");
const scrolling = (label, inside) => el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label }, inside);

// ---- cases and works

const measured = (i) => cases.time[i] !== null;
const invalid = (i) => cases.trust[i] === 1;
const TRUST = ["", "INVALID", "unreliable time", ""];
const colour = (backend) => data.looks[backend][0];
const name = (i) => backends[cases.backend[i]];
/** Return a colour for each backend of one picture. If backends share a colour, the later ones get lighter tints. */
function tints(shown) {
  const found = new Map();
  const before = {};
  for (const backend of shown) {
    const base = colour(backend);
    const kept = 0.55 ** (before[base] ?? 0);
    before[base] = (before[base] ?? 0) + 1;
    const channels = [1, 3, 5].map((place) => Math.round(255 - kept * (255 - parseInt(base.slice(place, place + 2), 16))));
    found.set(backend, `#${channels.map((each) => each.toString(16).padStart(2, "0")).join("")}`);
  }
  return found;
}
const byWork = works.text.map(() => []);
for (const i of all) byWork[cases.work[i]].push(i);
const ranked = (work) => byWork[work].filter(measured).sort((a, b) => cases.time[a] - cases.time[b]);
const questionOf = (work) => Object.fromEntries(KEYS.map((key) => [key, works[key][work]]));
const keyOf = (question) => JSON.stringify(KEYS.map((key) => question[key]));
/** The works that answer each question, with the newest session first. */
const answers = new Map();
for (const work of byWork.keys()) {
  if (!byWork[work].some(measured)) continue;
  const key = keyOf(questionOf(work));
  if (!answers.has(key)) answers.set(key, []);
  answers.get(key).push(work);
}
/** Return the works that answer a question. The newest one that compares two or more backends comes first. */
function answersTo(question) {
  const found = answers.get(keyOf(question)) ?? [];
  const compared = found.find((work) => ranked(work).length > 1);
  return compared === undefined ? found : [compared, ...found.filter((work) => work !== compared)];
}

// ---- the tabs

const tabs = [...$("tabs").children];
const FILTERED = ["compare", "scaling", "all-cases"];
const PLOTTED = ["scaling", "tail-latency", "processes"];
/** Show the panel of a tab and hide the others. The browser's own search still finds text in hidden panels. */
function openTab(id) {
  state.tab = id;
  for (const tab of tabs) {
    const chosen = tab.hash === `#${id}`;
    const panel = $(tab.hash.slice(1));
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    // A hidden panel must not get the focus, although the browser's search can find and show it.
    panel.tabIndex = chosen ? 0 : -1;
    if (chosen) panel.removeAttribute("hidden");
    else panel.setAttribute("hidden", "until-found");
  }
  $("filters").hidden = !FILTERED.includes(id);
  $("no-plots").hidden = !(plotly.failed && PLOTTED.includes(id));
  if (id === "all-cases") showCases();
}
function chooseTab(id) {
  openTab(id);
  writeAddress("replaceState");
}
/** Turn the links into tabs, following the pattern of the ARIA authoring practices. */
function makeTabs() {
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  document.documentElement.className = "tabbed";
  $("tabs").setAttribute("role", "tablist");
  $("tabs").setAttribute("aria-label", "Parts of this page");
  for (const tab of tabs) {
    const panel = $(tab.hash.slice(1));
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.addEventListener("beforematch", () => chooseTab(panel.id));
    tab.addEventListener("click", (event) => { event.preventDefault(); chooseTab(panel.id); });
  }
  $("tabs").addEventListener("keydown", (event) => {
    const place = tabs.indexOf(event.target);
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: tabs.length - 1, " ": place }[event.key];
    if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    tab.focus();
    chooseTab(tab.hash.slice(1));
  });
}

// ---- the form

const NEAR = 1.5; // two shapes are similar if each of their numbers differs by at most this factor
const optionText = (select) => select.options[select.selectedIndex].text;
const chosenValue = (key, text) => (key === "variant" && text === "usual" ? "" : text);
/** Return the form's values; null if a number is missing or invalid. */
function typed() {
  const found = {};
  for (const key of data.sizes) {
    const input = $(`want-${key}`);
    const text = input.value.trim();
    found[key] = text === "" ? null : Number(text);
    if (text === "" && (key === "window" || key === "input_size") && !input.validity.badInput) continue;
    if (!Number.isInteger(found[key]) || found[key] < 1) return null;
  }
  for (const key of data.choices) found[key] = chosenValue(key, optionText($(`want-${key}`)));
  found.input_size ??= found.hidden_size;
  return found;
}
const pick = (key, value) => { for (const option of $(`want-${key}`).options) if (chosenValue(key, option.text) === String(value)) option.selected = true; };
/** Write a question into the form; an empty input means as many features as units. */
function fill(question) {
  for (const key of data.sizes) $(`want-${key}`).value = isNaN(question[key]) ? "" : question[key] ?? "";
  if (question.input_size === question.hidden_size) $("want-input_size").value = "";
  for (const key of data.choices) pick(key, question[key]);
  state.ownInput = $("want-input_size").value !== "";
}
/** Reset fields that do not fit the changed field: new units clear an input that nobody typed, and a new mode clears settings of other modes. */
function reset(changed) {
  if (changed === "want-input_size") state.ownInput = $(changed).value !== "";
  if (changed === "want-hidden_size" && !state.ownInput) $("want-input_size").value = "";
  if (changed !== "want-mode") return;
  const [mode, variant] = ["mode", "variant"].map((key) => chosenValue(key, optionText($(`want-${key}`))));
  const known = works.variant.filter((_, work) => works.mode[work] === mode);
  if (mode !== "training") pick("optimizer", "none");
  if (mode === "streaming") $("want-window").value = "";
  if (known.includes(variant) || (variant && variantOptions(variant) && mode !== "streaming")) return;
  const usual = mode === "streaming" ? known : ["", ...known];
  pick("variant", usual.find((each) => answers.has(keyOf({ ...typed(), variant: each }))) ?? usual[0] ?? "");
}
/** Put the question into the address of the page, so that a link or the browser's history asks it again. */
function note(question) {
  state.question = String(new URLSearchParams(KEYS.filter((key) => (question[key] ?? "") !== "").map((key) => [key, question[key]])));
  writeAddress("pushState");
}
/** Write the tab (unless it is the first one) and the question into the address: `#compare`, `#batch=32&…` or `#compare&batch=32&…`. */
function writeAddress(how) {
  const words = [state.tab === "answer" ? "" : state.tab, state.question].filter(Boolean).join("&");
  if (location.hash.slice(1) !== words) history[how](null, "", words ? `#${words}` : location.pathname + location.search);
}
function readAddress() {
  const words = location.hash.slice(1);
  const [first] = words.split("&");
  openTab(tabs.some((tab) => tab.hash === `#${first}`) ? first : "answer");
  if (!words.includes("=")) {
    state.question = "";
    return start();
  }
  const question = Object.fromEntries(new URLSearchParams(words));
  fill({ num_layers: 1, variant: "", ...question });
  ask(typed());
  state.question = words.slice(words.startsWith(`${state.tab}&`) ? state.tab.length + 1 : 0);
}
function ask(question, work = null) {
  const found = question ? answersTo(question) : [];
  state.work = work ?? found[0] ?? null;
  if (question) fill(question);
  $("want-input_size").placeholder = $("want-hidden_size").value || "units";
  $("work").value = found.map(String).find((each) => [...$("work").options].some((option) => option.value === each)) ?? "";
  $("answer-session").hidden = found.length < 2;
  $("answer-of").replaceChildren(...[...found].sort((a, b) => a - b).map((each) => el("option", { value: each, selected: each === state.work }, sections[works.session[each]].title)));
  $("decision").replaceChildren(...(state.work === null ? unknown(question) : known(state.work)));
  $("shape").hidden = state.work === null;
  $("shape").firstElementChild.textContent = state.work === null ? "" : `${capital(works.text[state.work])}.`;
  showBackends();
  showSource(state.work === null ? 0 : works.session[state.work]);
  if (state.work !== null && !state.ownAxis) $("x-axis").value = bestAxis();
  redraw("samples", "latency");
  showStreams();
  if (question) follow({ ...question, kind: works.kind[state.work], session: works.session[state.work] });
  else update();
}
function askAbout(work) {
  openTab("answer");
  ask(questionOf(work), work);
  note(questionOf(work));
  $("decision").focus({ preventScroll: true });
  $("tabs").scrollIntoView({ block: "start" });
}
/** Return the decision: one line with the name, the factor and its certainty, and below it the report's sentence. */
function decision(work, sentence) {
  const [best] = ranked(work);
  const baseline = sections[works.session[work]].baseline;
  if (cases.mark[best] === data.fastest && cases.verdict[best] === "FASTER" && !invalid(best))
    return [el("p", { className: "main" }, `Use ${name(best)}: ${cases.texts[best][2]}× as fast as ${baseline} (99.5% CI ${cases.texts[best][3]}), and significantly faster than every other backend.`), el("p", {}, sentence)];
  const end = sentence.search(/\. (?=\S)/) + 1 || sentence.length;
  return [el("p", {}, el("strong", { className: "main" }, sentence.slice(0, end)), sentence.slice(end))];
}
function showSource(session) {
  $("source")?.replaceChildren(...sections[session].facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)]));
}
function known(work) {
  const [first, ...others] = works.answer[work];
  const lines = [...decision(work, first), ...others.map((text) => el("p", {}, text))];
  if (works.why[work]) lines.push(el("p", {}, `Why it takes that long: ${works.why[work]}.`));
  return [...lines, el("p", {}, "Case: ", el("code", {}, works.group[work]))];
}
/** Return by which factor the numbers of two questions differ: the largest factor, and the product of all factors. */
function factors(one, other) {
  const found = data.sizes.map((key) => {
    if (one[key] === other[key]) return 1;
    if (one[key] === null || other[key] === null) return Infinity; // only one of the two is cut into windows
    return Math.max(one[key] / other[key], other[key] / one[key]);
  });
  return [Math.max(...found), found.reduce((a, b) => a * b, 1)];
}
function unknown(question) {
  if (!answers.size) return [el("p", { className: "main" }, "No case on this page has a time. The reasons are below.")];
  if (!question) return [el("p", { className: "main" }, "Fill in whole numbers from 1 on. You may leave two fields empty: input (then it is equal to units) and window (then sequences are not cut).")];
  const lines = [el("p", { className: "main" }, "This page has no results for this shape.")];
  const others = [...answers.values()].map(([work]) => ({ work, question: questionOf(work) }));
  const changes = (each) => [...data.choices.map((key) => each.question[key] !== question[key]), (each.question.window === null) !== (question.window === null)].filter(Boolean).length;
  const away = (each) => factors({ ...each.question, window: null }, { ...question, window: null })[1];
  const sorted = [...others].sort((a, b) => changes(a) - changes(b) || away(a) - away(b));
  const similar = sorted.filter((each) => !changes(each) && factors(each.question, question)[0] <= NEAR);
  const near = (similar.length ? similar : sorted).slice(0, 3);
  if (similar.length) lines.push(el("p", {}, `Similar shapes (each number within a factor of ${NEAR}):`), offers(near));
  else lines.push(el("p", {}, `No similar shape was measured (each number within a factor of ${NEAR}).${near.length ? " The nearest measured shapes:" : ""}`), ...(near.length ? [offers(near)] : []));
  const sizes = data.sizes.filter((key) => key !== "window");
  const otherwise = others.filter((each) => !near.includes(each) && sizes.every((key) => each.question[key] === question[key]));
  if (otherwise.length) lines.push(el("p", {}, "These sizes were measured with other settings:"), offers(otherwise.slice(0, 12)));
  const [words, why] = command(question);
  lines.push(words ? el("p", {}, "To measure this shape in about two minutes, run: ", copied(words)) : el("p", {}, why));
  return lines;
}
const copied = (words) => el("span", { className: "copied" }, el("code", { className: "command" }, words), copyButton(words));
function copyButton(words) {
  const button = el("button", { type: "button", className: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow this: select the command and copy it";
    }
  });
  return button;
}
const offers = (found) => el("ul", {}, ...found.map(({ work }) =>
  el("li", {}, el("button", { type: "button", className: "link", onclick: () => askAbout(work) }, works.text[work]), ` ${works.answer[work][0]}`)));
/** Return the options of bench.ask for a variant, or null if measuring the variant needs a suite file. */
function variantOptions(variant) {
  const option = (word) => (word === "bidirectional" ? "--bidirectional" : data.cells.includes(word) ? `--cell ${word}` : null);
  const options = variant.split(", ").filter(Boolean).map(option);
  return options.includes(null) ? null : options;
}
/** Return the command that measures a question, or the reason why there is none. */
function command(question) {
  const { window: cut, timesteps, device, mode, variant } = question;
  if (cut !== null && (cut > timesteps || timesteps % cut)) return ["", `The window must divide the ${timesteps} timesteps, so that all windows have the same length.`];
  if (!/^(cpu|gpu:\d+)$/.test(device)) return ["", `No command measures on ${device}.`];
  if (mode === "streaming") return ["", "To measure streams, run a suite: python -m bench.run streaming."];
  const options = variantOptions(variant ?? "");
  if (!options) return ["", `Measuring it with ${variant} needs a suite file (bench.run --suite).`];
  const given = [["batch", question.batch], ["steps", timesteps], ["hidden", question.hidden_size],
    ["input", question.input_size === question.hidden_size ? null : question.input_size],
    ["layers", question.num_layers > 1 ? question.num_layers : null], ["window", cut],
    ["dtype", question.dtype === "float32" ? null : question.dtype], ["optimizer", question.optimizer === "none" ? null : question.optimizer],
    ["device", device === "cpu" ? null : device], ["mode", mode]];
  const words = given.filter(([, value]) => value !== null).map(([key, value]) => `--${key} ${value}`);
  return [["python -m bench.ask", ...words, ...options].join(" "), ""];
}
/** Show the backends of the question with bars for their speed, the fastest first, and then the backends without a time. */
function showBackends() {
  if (state.work === null) return $("picture").replaceChildren();
  const order = ranked(state.work);
  const least = cases.time[order[0]];
  const shades = tints(order.map((i) => cases.backend[i]));
  const share = (time) => Math.min(125, (100 * least) / time);
  const lines = order.map((i) => {
    const [time, interval, speed, around, verdict, first, memory] = cases.texts[i];
    const bar = el("span", { className: "bar", style: `width:${share(cases.time[i])}%;background:${shades.get(cases.backend[i])}` });
    const [from, to] = [share(cases.high[i] ?? Infinity), share(cases.low[i] ?? cases.time[i])];
    const whisker = cases.high[i] === null ? [] : [el("span", { className: "whisker", style: `left:${from}%;width:${Math.max(0, to - from)}%` })];
    const label = el("span", {}, cases.mark[i] ? `${cases.mark[i]} ` : "", ...breakable(name(i)));
    return [[el("span", { className: "ranked" }, label, el("span", { className: "bars", "aria-hidden": "true" }, bar, ...whisker))], time, interval, speed && `${speed}×`, around, verdict, TRUST[cases.trust[i]], first, memory];
  });
  const headings = ["backend", "time of a step", "95% CI", "speedup", "99.5% CI", "verdict", "trust", "first result", "memory"];
  const shown = headings.map((_, place) => !place || lines.some((line) => line[place]));
  const built = el("table", { className: "backends cards" }, el("caption", {}, "The backends, the fastest first. Bars: speed; whiskers: 95% CI"),
    el("thead", {}, el("tr", {}, ...headings.filter((_, n) => shown[n]).map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line.map((text, n) => (n ? el("td", { "data-label": headings[n], className: text ? "" : "empty" }, el("span", { className: standing(text) }, text)) : el("th", { scope: "row" }, ...text))).filter((_, n) => shown[n])))));
  const without = byWork[state.work].filter((i) => !measured(i));
  $("picture").replaceChildren(scrolling("The backends", built), ...(without.length ? [el("details", {}, el("summary", {}, `${without.length} without a time here, and why`),
    el("ul", {}, ...without.map((i) => el("li", {}, `${name(i)}, ${cases.outcome[i]}: ${whys[cases.why[i]] || "no reason was recorded"}`))))] : []));
}

// ---- filters

const FILTERS = Object.keys(works).filter((key) => $(`filter-${key}`));
const filterValues = data.filters;
const FOLLOWING = ["device", "mode", "dtype"];
function clearFilters() {
  for (const key of FILTERS) $(`filter-${key}`).value = FOLLOWING.includes(key) ? "0" : "";
  $("valid-only").checked = false;
  for (const box of $("backends").querySelectorAll("input")) box.checked = true;
}
/** Change the filters so that they show the shape of a question: they take over its device, mode and precision. */
function follow(question) {
  for (const key of FILTERS) {
    const select = $(`filter-${key}`);
    if (select.value === "" || filterValues[key][select.value] === question[key]) continue;
    const place = FOLLOWING.includes(key) ? filterValues[key].indexOf(question[key]) : -1;
    select.value = place < 0 ? "" : place;
  }
  update();
}
function active() {
  const found = FILTERS.filter((key) => $(`filter-${key}`).value !== "").map((key) => {
    const select = $(`filter-${key}`);
    const wanted = filterValues[key][Number(select.value)];
    return [`${select.labels[0].textContent} "${optionText(select)}"`, (i) => works[key][cases.work[i]] === wanted];
  });
  const chosen = new Set([...$("backends").querySelectorAll("input:checked")].map((box) => Number(box.value)));
  if (chosen.size < backends.length) found.push(["the selection of backends", (i) => chosen.has(cases.backend[i])]);
  if ($("valid-only").checked) found.push(['"only reliable measurements"', (i) => !invalid(i)]);
  return found;
}
function update() {
  const filters = active();
  state.chosen = all.filter((i) => filters.every(([, passes]) => passes(i)));
  const timed = state.chosen.filter(measured);
  let message = `Selected: ${state.chosen.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} cases, ${timed.length.toLocaleString("en")} with a time, ${timed.filter(invalid).length} INVALID.`;
  if (!state.chosen.length) {
    const without = filters.map(([label], n) => [label, all.filter((i) => filters.every(([, passes], other) => other === n || passes(i))).length]).filter(([, left]) => left);
    message += without.length ? without.map(([label, left]) => ` ${capital(label)} hides everything: without it ${left} cases.`).join("") : " Together the filters hide everything.";
  }
  if (data.left_out) message += ` ${data.left_out.toLocaleString("en")} more did not fit into the page: write it with --device or --kind.`;
  $("shown").textContent = message;
  state.page = 0;
  showWhere(timed);
  showCases();
  redraw("explore");
}

// ---- which is fastest where: shapes by backends

const MOST_SHAPES = 20;
const MOST_COLUMNS = 8; // together with the name of a shape, they fit on a screen
const TIME_UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
const FIGURES = { speed: (i) => cases.speed[i], time: (i) => cases.time[i] };
/** Return a work as text: batch × timesteps × hidden size, then unusual settings, then what differs between the works of one list. */
function shapeText(work, differing = []) {
  const get = (key) => works[key][work];
  const rest = [
    get("input_size") === get("hidden_size") ? "" : `${get("input_size")} in`, get("num_layers") > 1 ? `${get("num_layers")} layers` : "",
    get("window") === null ? "" : `windows of ${get("window")}`, get("optimizer") === "none" ? "" : get("optimizer"), get("variant"),
    ...differing.map((key) => (key === "session" ? sections[get("session")].started : get(key))),
  ];
  return [[get("batch"), get("timesteps"), get("hidden_size")].join("×"), ...rest.filter(Boolean)].join(", ");
}
/** Offer the modes that have times, and return the chosen one. The mode of the question is chosen first. */
function mapMode(timed) {
  const found = [...new Set(timed.map(of("mode")))].sort();
  const kept = [$("map-mode").value, state.work === null ? "" : works.mode[state.work]];
  const [before, asked] = state.mapMode ? kept : kept.reverse();
  $("map-mode").replaceChildren(...found.map((mode) => el("option", { value: mode }, mode)));
  $("map-mode").value = [before, asked, found[0]].find((mode) => found.includes(mode)) ?? "";
  return $("map-mode").value;
}
function showWhere(timed, mostShapes = MOST_SHAPES, mostColumns = MOST_COLUMNS) {
  const mode = mapMode(timed);
  const unit = $("map-unit").value;
  const figure = FIGURES[unit];
  const here = timed.filter((i) => of("mode")(i) === mode);
  const cells = new Map();
  for (const i of here) {
    if (!figure(i) && !invalid(i)) continue;
    const work = cases.work[i];
    if (!cells.has(work)) cells.set(work, new Map());
    cells.get(work).set(cases.backend[i], i);
  }
  // A row with only the baseline compares nothing, so it is left out.
  if (unit === "speed") for (const [work, row] of cells) if ([...row.values()].every((i) => cases.verdict[i] === "baseline")) cells.delete(work);
  const shapes = [...cells.keys()].sort((a, b) => (b === state.work) - (a === state.work));
  const kept = shapes.slice(0, mostShapes);
  const gains = new Map();
  for (const work of kept)
    for (const [backend, i] of cells.get(work))
      gains.set(backend, [...(gains.get(backend) ?? []), ...(cases.speed[i] ? [Math.log(cases.speed[i])] : [])]);
  const mean = (logs) => (logs.length ? logs.reduce((a, b) => a + b, 0) / logs.length : -Infinity);
  const asked = (backend) => Boolean(cells.get(state.work)?.has(backend));
  const order = [...gains.keys()].sort((a, b) => asked(b) - asked(a) || mean(gains.get(b)) - mean(gains.get(a)));
  const columns = order.slice(0, mostColumns).sort((a, b) => mean(gains.get(b)) - mean(gains.get(a)));
  const times = here.map((i) => cases.time[i]).sort((a, b) => a - b);
  const [scale, symbol] = TIME_UNITS.find(([size]) => times[Math.floor(times.length / 2)] >= size) ?? TIME_UNITS.at(-1);
  const rows = kept.filter((work) => columns.some((backend) => cells.get(work).has(backend)));
  const differing = ["device", "dtype"].filter((key) => new Set(rows.map((work) => works[key][work])).size > 1);
  const names = rows.map((work) => shapeText(work, differing));
  const lines = rows.map((work, place) => {
    const double = names.filter((text) => text === names[place]).length > 1;
    const label = double ? shapeText(work, [...differing, "session"]) : names[place];
    return el("tr", work === state.work ? { "aria-current": "true" } : {}, el("th", { scope: "row" }, el("button", { type: "button", className: "link", title: works.text[work], onclick: () => askAbout(work) }, label)),
      ...columns.map((backend) => {
        const cell = heat(cells.get(work).get(backend), unit, scale);
        cell.setAttribute("data-label", backends[backend]);
        return cell;
      }));
  });
  const caption = `${unit === "speed" ? "Speedup over the baseline" : `Time of a step (${symbol})`}, ${mode}`;
  const built = el("table", { className: "heat cards" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "batch×timesteps×hidden"), ...columns.map((backend) => el("th", { scope: "col" }, ...breakable(backends[backend]))))), el("tbody", {}, ...lines));
  const without = new Set(here.map((i) => cases.work[i])).size - shapes.length;
  const more = (left, noun, ...most) => (left > 0 ? [el("button", { type: "button", onclick: () => showWhere(timed, ...most) }, `Show ${left.toLocaleString("en")} more ${noun}${left > 1 ? "s" : ""}`), " "] : []);
  $("where").replaceChildren(...(rows.length ? [scrolling(caption, built)] : [el("p", {}, here.length ? "No selected shape has a speedup. To see times, change “Cells show”." : "No selected case has a time.")]),
    ...more(shapes.length - kept.length, "shape", Infinity, mostColumns), ...more(order.length - columns.length, "backend", mostShapes, Infinity),
    ...(rows.length && without ? [el("p", { className: "dim" }, `${without.toLocaleString("en")} ${without > 1 ? "shapes have" : "shape has"} no speedup. To see their times, change “Cells show”.`)] : []));
}
function heat(i, unit, scale) {
  if (i === undefined) return el("td", { className: "empty" }, "–");
  const [time, , speed, around, verdict] = cases.texts[i];
  if (invalid(i)) return el("td", { className: "invalid", title: whys[cases.why[i]] }, "INVALID");
  const cell = el("td", { title: [time, speed && `${speed}×`, around, verdict].filter(Boolean).join("; ") }, `${unit === "speed" ? speed : number(cases.time[i] / scale)} ${cases.mark[i]}`.trim());
  if (["FASTER", "SLOWER"].includes(cases.verdict[i])) {
    const strength = Math.min(1, Math.abs(Math.log(cases.speed[i])) / Math.log(4));
    cell.className = cases.verdict[i].toLowerCase();
    cell.style.background = `color-mix(in srgb, var(--${cell.className}) ${Math.round(12 + 38 * strength)}%, transparent)`;
  }
  return cell;
}

// ---- plots

const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const look = (backend) => ({ color: colour(backend), symbol: SYMBOLS[data.looks[backend][1]], size: 8 });
const of = (key) => (i) => works[key][cases.work[i]];
const per = (key, amount) => (i) => (cases[key][i] ? amount(i) / cases[key][i] : null);
/** The quantities by their headings. Each function returns [value, low, high] of a case. */
const UP = {
  "sequences per second": (i) => ["time", "high", "low"].map((key) => per(key, of("batch"))(i)),
  "time of a step (s)": (i) => [cases.time[i], cases.low[i], cases.high[i]],
  "time of a timestep (s)": (i) => ["time", "low", "high"].map((key) => cases[key][i] && cases[key][i] / of("timesteps")(i)),
  "speedup over the baseline": (i) => [cases.speed[i], cases.speed_low[i], cases.speed_high[i]],
  "first result (s)": (i) => [cases.first[i]],
  "build, trace and compile (s)": (i) => [cases.build[i] === null ? null : cases.build[i] + (cases.trace[i] ?? 0) + (cases.compile[i] ?? 0)],
  "peak memory (bytes)": (i) => [cases.memory[i]],
  "operations per second": (i) => [cases.operations[i] && cases.operations[i] / cases.time[i]],
};
const ACROSS = {
  batch: of("batch"), "hidden size": of("hidden_size"), timesteps: of("timesteps"), window: of("window"),
  "operations per byte": (i) => cases.operations[i] && cases.bytes[i] && cases.operations[i] / cases.bytes[i],
};
const AXIS = { batch: "batch", "hidden size": "hidden_size", timesteps: "timesteps", window: "window" };
const MOST_MARKS = 1500; // more are slow and unreadable
/** Return a key that the cases of one line share. */
function lineKey(i, across) {
  const work = cases.work[i];
  const square = across === "hidden size" && works.input_size[work] === works.hidden_size[work];
  return JSON.stringify([cases.backend[i], ...["session", "kind", ...KEYS].filter((key) => key !== AXIS[across]).map((key) => (square && key === "input_size" ? "=" : works[key][work]))]);
}
/** Return the cases as lists. The cases of a list share a key. */
function linesOf(chosen, keyFor) {
  const found = new Map();
  for (const i of chosen) {
    const key = keyFor(i);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  }
  return [...found.values()];
}
/** Return the axis along which most lines pass through the shape above. If none does, return the axis with most lines. */
function bestAxis() {
  const work = state.work;
  const passes = ["device", "mode", "dtype"].map((key) => works[key]);
  const near = all.filter((i) => measured(i) && passes.every((values) => values[cases.work[i]] === values[work]));
  const rated = Object.keys(AXIS).map((across) => {
    const points = near.filter((i) => ACROSS[across](i) !== null);
    const lines = linesOf(points, (i) => lineKey(i, across)).filter((line) => new Set(line.map(ACROSS[across])).size > 1);
    return [across, 1e6 * lines.filter((line) => line.some((i) => cases.work[i] === work)).length + lines.length];
  });
  return rated.sort((a, b) => b[1] - a[1])[0][0];
}
/** Return the backends of some lines: first those of the shape above, by their speed, then the others, those with most points first. */
function favourites(lines) {
  const points = new Map();
  for (const line of lines) points.set(cases.backend[line[0]], (points.get(cases.backend[line[0]]) ?? 0) + line.length);
  const here = state.work === null ? [] : ranked(state.work).map((i) => cases.backend[i]);
  const place = (backend) => (here.includes(backend) ? here.indexOf(backend) : Infinity);
  return [...points.keys()].sort((a, b) => (place(a) === place(b) ? points.get(b) - points.get(a) : place(a) - place(b)));
}
function explore() {
  const [up, across] = [$("y-axis").value, $("x-axis").value];
  const points = state.chosen.filter((i) => measured(i) && ACROSS[across](i) !== null && UP[up](i)[0]);
  if (!points.length) return { description: "No selected case has values for these two axes." };
  const roofline = across === "operations per byte";
  const grouped = linesOf(points, roofline ? (i) => `${cases.backend[i]}` : (i) => lineKey(i, across));
  const isLine = (line) => new Set(line.map(ACROSS[across])).size > 1;
  const long = roofline ? grouped : grouped.filter(isLine);
  const drawn = long.length ? long : grouped;
  const single = grouped.length - drawn.length;
  const present = new Set(drawn.flat().map((i) => cases.backend[i]));
  const most = Number($("lines-shown").value) || Infinity;
  const drawnBackends = new Set(favourites(drawn).slice(0, most));
  const wanted = drawn.filter((line) => drawnBackends.has(cases.backend[line[0]]));
  const shown = wanted.flat().slice(0, MOST_MARKS);
  const left = wanted.flat().length - shown.length;
  const kept = new Set(shown);
  const lines = new Map(wanted.map((line) => line.filter((i) => kept.has(i))).filter((line) => line.length).entries());
  const named = new Set();
  const through = (line) => line.some((i) => cases.work[i] === state.work);
  const faded = !roofline && [...lines.values()].some(through);
  const modes = [...new Set(shown.map((i) => `${of("mode")(i)} on ${of("device")(i)}`))].sort();
  const traces = [...lines.values()].map((found) => {
    found.sort((a, b) => ACROSS[across](a) - ACROSS[across](b));
    const backend = cases.backend[found[0]];
    const values = found.map((i) => UP[up](i));
    const first = !named.has(backend);
    named.add(backend);
    const bounded = values[0].length > 1;
    return {
      x: found.map(ACROSS[across]), y: values.map(([value]) => value), name: plain(backends[backend], 40), legendgroup: String(backend), showlegend: first, opacity: faded && !through(found) ? 0.25 : 1,
      mode: roofline ? "markers" : "lines+markers", line: { color: colour(backend), width: 1.5, dash: DASHES[modes.indexOf(`${of("mode")(found[0])} on ${of("device")(found[0])}`) % 4] },
      marker: { ...look(backend), symbol: found.map((i) => look(backend).symbol + (invalid(i) ? "-open" : "")) },
      hovertext: found.map((i) => [backends[backend], works.text[cases.work[i]], ...cases.texts[i].slice(0, 5), TRUST[cases.trust[i]]].filter(Boolean).map((text) => plain(text, 120)).join("<br>")), hoverinfo: "text",
      ...(bounded ? { error_y: { array: values.map(([mid, , high]) => (high ?? mid) - mid), arrayminus: values.map(([mid, low]) => mid - (low ?? mid)), thickness: 1, width: 2 } } : {}),
    };
  });
  if (roofline && up === "operations per second") {
    const xs = shown.map(ACROSS[across]);
    const ends = [Math.min(...xs) / 2, Math.max(...xs) * 2];
    const peak = Math.max(...shown.map((i) => cases.peak[i] ?? 0));
    const bandwidth = Math.max(...shown.map((i) => cases.bandwidth[i] ?? 0));
    if (peak && bandwidth) traces.push({ x: [ends[0], peak / bandwidth, ends[1]].sort((a, b) => a - b), y: [ends[0], peak / bandwidth, ends[1]].sort((a, b) => a - b).map((x) => Math.min(peak, x * bandwidth)), name: "measured roofs", mode: "lines", line: { color: tone("dim"), dash: "dash" }, hoverinfo: "skip" });
  }
  return {
    description: `${capital(up)} against ${across}${bounds(up)}.${modes.length > 1 ? ` Lines: ${modes.map((mode, n) => `${mode} ${["solid", "dashed", "dotted", "dash-dotted"][n % 4]}`).join(", ")}.` : ""}${faded ? " Faint: lines that do not pass through the shape above." : ""}${shown.some(invalid) ? " Hollow: INVALID." : ""}${present.size > drawnBackends.size ? ` ${drawnBackends.size} of ${present.size} backends.` : ""}${single ? ` Not drawn: ${single.toLocaleString("en")} single points that no line joins.` : ""}${left > 0 ? ` The first ${MOST_MARKS.toLocaleString("en")} of ${wanted.flat().length.toLocaleString("en")} cases; filters choose.` : ""}`,
    traces, layout: { xaxis: { type: "log", title: { text: across } }, yaxis: { type: "log", title: { text: up } } },
    headings: ["backend", "shape", across, up, "trust"], rows: shown.map((i) => [name(i), works.text[cases.work[i]], number(ACROSS[across](i)), number(UP[up](i)[0]), TRUST[cases.trust[i]]]),
  };
}
const bounds = (up) => (up.startsWith("speedup") ? ", with 99.5% CI" : /^(sequences|time of)/.test(up) ? ", with 95% CI" : "");
const median = (values) => { const sorted = [...values].sort((a, b) => a - b); const at = sorted.length / 2; return sorted.length % 2 ? sorted[Math.floor(at)] : (sorted[at - 1] + sorted[at]) / 2; };
/** Return the samples of a case in seconds, by process. pack_samples of page.py wrote them. */
function samplesOf(i) {
  const [low, high, sizes, text] = data.samples[i];
  const bytes = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  let place = 0;
  return sizes.map((size) => Array.from({ length: size }, () => low * (high / low) ** (bytes.getUint16(2 * place++, true) / 65535)));
}
function processes() {
  const order = state.work === null ? [] : ranked(state.work);
  const samples = new Map(order.map((i) => [i, samplesOf(i)]));
  const shades = tints(order.map((i) => cases.backend[i]));
  return {
    description: `Every sample of ${works.text[state.work]}, with one box for each process${data.complete ? "" : ", drawn from its order statistics"}.`,
    traces: order.map((i) => ({
      type: "box", name: plain(name(i), 30), marker: { color: shades.get(cases.backend[i]), symbol: look(cases.backend[i]).symbol, size: 4 }, boxpoints: "all", jitter: 0.5, pointpos: 0, line: { width: 1 },
      x: samples.get(i).flatMap((values, n) => values.map(() => n + 1)), y: samples.get(i).flat(), hoverinfo: "y",
    })),
    layout: { boxmode: "group", xaxis: { title: { text: "process" }, dtick: 1 }, yaxis: { type: "log", title: { text: "time of a step (s)" } } },
    headings: ["backend", "processes", "samples", "median of the processes' medians (s)", "fastest process (s)", "slowest process (s)"],
    rows: order.map((i) => {
      const medians = samples.get(i).map(median);
      return [name(i), String(medians.length), String(samples.get(i).flat().length), number(median(medians), 4), number(Math.min(...medians), 4), number(Math.max(...medians), 4)];
    }),
  };
}
function latency() {
  const found = (state.work === null ? [] : ranked(state.work)).filter((i) => data.latency[i]);
  const shades = tints(found.map((i) => cases.backend[i]));
  const total = (i) => data.latency[i].bins.reduce((sum, [, calls]) => sum + calls, 0);
  const marks = [...new Set(found.flatMap((i) => data.latency[i].parts.map(([part]) => part)))];
  return {
    description: "Share of the calls that take longer than a latency, which counts from when a call is due. The marks are percentiles.",
    traces: [
      ...found.map((i) => ({ x: data.latency[i].bins.map(([at]) => at), y: data.latency[i].bins.map(([, calls]) => calls / total(i)), name: plain(name(i), 40), mode: "lines", line: { color: shades.get(cases.backend[i]), shape: "hvh", dash: DASHES[data.looks[cases.backend[i]][1] % DASHES.length] } })),
      ...found.map((i) => ({ x: data.latency[i].parts.map(([, at]) => at), y: data.latency[i].parts.map(([part]) => Math.max(1e-6, 1 - part / 100)), text: data.latency[i].parts.map(([part]) => `p${part}`), mode: "markers+text", textposition: "top center", showlegend: false, marker: { ...look(cases.backend[i]), color: shades.get(cases.backend[i]) } })),
    ],
    layout: { xaxis: { type: "log", title: { text: "latency (s)" } }, yaxis: { type: "log", title: { text: "share of calls" } } },
    headings: ["backend", "calls", ...marks.map((part) => `p${part}`), "late"],
    rows: found.map((i) => [name(i), data.latency[i].calls.toLocaleString("en"), ...marks.map((part) => data.latency[i].parts.find(([each]) => each === part)?.[2] ?? ""), data.latency[i].missed === null ? "" : String(data.latency[i].missed)]),
  };
}
/** Offer the streams that were measured, if the shape under Answer is not a stream. */
function showStreams() {
  const streams = [...byWork.keys()].filter((work) => byWork[work].some((i) => data.latency[i]));
  const words = "python -m bench.run streaming";
  $("no-latency").replaceChildren(...(streams.length
    ? [el("p", {}, "The shape under Answer is not a stream. These streams were measured:"), el("ul", {}, ...streams.slice(0, 20).map((work) => el("li", {}, el("button", { type: "button", className: "link", onclick: () => { ask(questionOf(work), work); note(questionOf(work)); } }, works.text[work]))))]
    : [el("p", {}, "No stream was measured. To measure streams: ", copied(words))]));
}
const VIEWS = { explore, samples: processes, latency };
const stale = new Set(Object.keys(VIEWS));
const near = new Set();
const tone = (key) => getComputedStyle(document.documentElement).getPropertyValue(`--${key}`).trim();
/** Plotly's script. It is unpacked when the page is idle, because printing cannot wait for it, and read when the first plot comes near. */
const plotly = {
  failed: false,
  text: null,
  unpack() {
    this.unpacked ??= (async () => {
      try {
        const packed = Uint8Array.from(atob($("plotly").textContent), (c) => c.charCodeAt(0));
        const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
        this.text = await new Response(stream).text();
        performance.mark("printable");
      } catch { this.fail(); /* The browser is older than DecompressionStream. */ }
    })();
    return this.unpacked;
  },
  /** Read the unpacked script, and return whether plots can be drawn. */
  read() {
    if (window.Plotly || this.text === null || this.failed) return Boolean(window.Plotly);
    document.body.append(el("script", { textContent: this.text })); // The page's security policy allows this text by its hash.
    if (!window.Plotly) this.fail();
    return Boolean(window.Plotly);
  },
  async load() {
    await this.unpack();
    if (this.read()) for (const id of near) if (stale.has(id)) draw(id);
  },
  fail() {
    this.failed = true;
    openTab(state.tab);
    redraw(...Object.keys(VIEWS));
  },
};
/** Update the descriptions now, and each plot when it is near the visible part of the page. */
function redraw(...ids) {
  for (const id of ids) {
    stale.add(id);
    $(id).setAttribute("aria-busy", "true");
    const found = VIEWS[id]();
    VIEWS[id].shown = found;
    $(id).hidden = id !== "explore" && !found.rows.length;
    const instead = { samples: "no-samples", latency: "no-latency" }[id];
    if (instead) $(instead).hidden = !$(id).hidden;
    $(id).querySelector(".description").textContent = found.description;
    $(id).querySelector(".plot").hidden = !found.traces || plotly.failed;
    const folded = $(id).querySelector("details");
    folded.hidden = !found.traces;
    folded.lastElementChild.replaceChildren(...(folded.open && found.rows ? [behind(id)] : []));
    if (near.has(id)) draw(id);
  }
}
const behind = (id) => table(`In numbers: ${$(`x-${id}`).textContent}`, VIEWS[id].shown.headings, VIEWS[id].shown.rows);
function draw(id, width) {
  const { shown } = VIEWS[id];
  const plot = $(id).querySelector(".plot");
  if (!plot.hidden) {
    if (!plotly.read()) return void plotly.load();
    const axis = { gridcolor: tone("grid"), linecolor: tone("edge"), zeroline: false, automargin: true, exponentformat: "SI" };
    const own = shown.layout;
    Plotly.react(plot, shown.traces, {
      font: { family: "system-ui, sans-serif", size: 13, color: tone("text") }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 60, r: 16, t: 12, b: 48 }, height: 460, hovermode: "closest", dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
      legend: { orientation: "h", y: -0.2 }, showlegend: true, hoverlabel: { align: "left", bgcolor: tone("back"), font: { color: tone("text") } },
      ...own, xaxis: { ...axis, ...own.xaxis }, yaxis: { ...axis, ...own.yaxis }, ...(width ? { width, autosize: false } : { autosize: true }),
    }, { displayModeBar: false, responsive: true });
  }
  stale.delete(id);
  $(id).setAttribute("aria-busy", "false");
}

// ---- every case

const PAGE = 50;
const SORTS = {
  report: (a, b) => cases.work[a] - cases.work[b] || (cases.time[a] ?? Infinity) - (cases.time[b] ?? Infinity),
  time: (a, b) => (cases.time[a] ?? Infinity) - (cases.time[b] ?? Infinity),
  speed: (a, b) => (cases.speed[b] ?? 0) - (cases.speed[a] ?? 0),
};
function showCases() {
  if (state.tab !== "all-cases") return;
  const keep = { all: () => true, measured, invalid, without: (i) => !measured(i) }[$("outcome").value];
  const found = state.chosen.filter(keep).sort(SORTS[$("sort").value]);
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const rows = found.slice(state.page * PAGE, (state.page + 1) * PAGE).map((i) => [name(i), works.text[cases.work[i]], ...cases.texts[i], TRUST[cases.trust[i]], whys[cases.why[i]]]);
  $("cases").replaceChildren(table("Cases", ["backend", "work", "time", "95% CI", "speedup", "99.5% CI", "verdict", "first result", "memory", "trust", "why"], rows));
  $("page-of").textContent = `Page ${state.page + 1} of ${pages}`;
  $("previous").disabled = !state.page;
  $("next").disabled = state.page === pages - 1;
}

// ---- start

/** Rate how common a question is. The most common one has several backends, training, whole sequences, nothing unusual, and Keras's default batch. */
const commonness = (work) => 16 * (ranked(work).length > 1) + 8 * (works.mode[work] === "training") + 4 * (works.window[work] === null) + 2 * (works.variant[work] === "") + (works.optimizer[work] === "none") + (works.batch[work] === 32) / 2;
function start() {
  const [first] = [...answers.values()].flat().sort((a, b) => commonness(b) - commonness(a) || a - b);
  clearFilters();
  state.ownAxis = state.mapMode = false;
  $("map-unit").value = "speed";
  $("lines-shown").value = "5";
  ask(first === undefined ? null : questionOf(first));
  state.ownInput = false;
}
for (const [id, values] of [["y-axis", UP], ["x-axis", ACROSS]]) $(id).append(...Object.keys(values).map((key) => el("option", { value: key }, key)));
$("x-axis").addEventListener("change", () => { state.ownAxis = true; });
for (const id of ["y-axis", "x-axis", "lines-shown"]) $(id).addEventListener("change", () => redraw("explore"));
$("map-mode").addEventListener("change", () => { state.mapMode = true; });
for (const id of ["map-mode", "map-unit"]) $(id).addEventListener("change", () => showWhere(state.chosen.filter(measured)));
for (const id of ["question", "filters"]) $(id).addEventListener("submit", (event) => event.preventDefault());
$("question").addEventListener("change", (event) => {
  if (event.target.id === "work") return event.target.value && askAbout(Number(event.target.value));
  reset(event.target.id);
  const question = typed();
  ask(question);
  if (question) note(question);
});
$("answer-of").addEventListener("change", () => {
  ask(questionOf(state.work), Number($("answer-of").value));
  $("answer-of").focus();
});
$("filters").addEventListener("change", update);
$("other-shape").addEventListener("click", () => $("want-batch").focus());
$("filter-fold").open = innerWidth > 640; // on a phone, open filters would fill the screen
for (const [id, on] of [["backends-all", true], ["backends-none", false]])
  $(id).addEventListener("click", () => {
    for (const box of $("backends").querySelectorAll("input")) box.checked = on;
    update();
  });
for (const button of document.querySelectorAll(".reset"))
  button.addEventListener("click", () => {
    state.question = "";
    writeAddress("pushState");
    start();
  });
addEventListener("popstate", readAddress);
for (const id of ["outcome", "sort"]) $(id).addEventListener("change", () => { state.page = 0; showCases(); });
for (const [id, by] of [["previous", -1], ["next", 1]]) $(id).addEventListener("click", () => { state.page += by; showCases(); });
for (const id of Object.keys(VIEWS)) $(id).querySelector("details").addEventListener("toggle", () => redraw(id));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(target.id);
    else near.delete(target.id);
    if (isIntersecting && stale.has(target.id)) draw(target.id);
  }
}, { rootMargin: "300px" });
/** Draw the plots again with other colours or another width: at once those that are near, and the others when they come near. */
function again() {
  for (const id of Object.keys(VIEWS)) {
    if (near.has(id)) draw(id);
    else {
      stale.add(id);
      $(id).setAttribute("aria-busy", "true");
    }
  }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
addEventListener("beforeprint", () => Object.keys(VIEWS).forEach((id) => draw(id, 680)));
addEventListener("afterprint", again);
makeTabs();
clearFilters();
readAddress();
for (const id of Object.keys(VIEWS)) watcher.observe($(id));
performance.mark("usable");
(window.requestIdleCallback ?? setTimeout)(() => plotly.unpack());
})();
