"use strict";
// The form, filters and plots over the data that bench/render/page.py writes into the page. Texts
// are not trusted: they are set as textContent only, and Plotly's labels pass through plain().
(() => {
const data = JSON.parse(document.getElementById("results").textContent);
const { cases, works, backends, sections, whys } = data;
const $ = (id) => document.getElementById(id);
const all = [...cases.work.keys()];
const KEYS = [...data.sizes, ...data.choices];
const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
const number = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
const state = { work: null, page: 0, chosen: [], ownInput: false };

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
  const cell = (text, place) => (place ? el("td", { className: { FASTER: "good", SLOWER: "bad", INVALID: "bad" }[text] ?? "" }, text) : el("th", { scope: "row" }, text));
  return scrolling(caption, el("table", {}, el("caption", {}, title),
    el("thead", {}, el("tr", {}, ...headings.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.slice(0, most).map((row) => el("tr", {}, ...row.map(cell))))));
}
const scrolling = (label, inside) => el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label }, inside);

// ---- cases and works

const measured = (i) => cases.time[i] !== null;
const invalid = (i) => cases.trust[i] === 1;
const TRUST = ["", "INVALID", "unreliable time", ""];
const colour = (backend) => data.looks[backend][0];
const name = (i) => backends[cases.backend[i]];
const byWork = works.text.map(() => []);
for (const i of all) byWork[cases.work[i]].push(i);
const ranked = (work) => byWork[work].filter(measured).sort((a, b) => cases.time[a] - cases.time[b]);
const questionOf = (work) => Object.fromEntries(KEYS.map((key) => [key, works[key][work]]));
const keyOf = (question) => JSON.stringify(KEYS.map((key) => question[key]));
/** The works of each query, the newest session first. */
const answers = new Map();
for (const work of byWork.keys()) {
  if (!byWork[work].some(measured)) continue;
  const key = keyOf(questionOf(work));
  if (!answers.has(key)) answers.set(key, []);
  answers.get(key).push(work);
}
/** Return the works of a query, first the newest that compares two or more backends. */
function answersTo(question) {
  const found = answers.get(keyOf(question)) ?? [];
  const compared = found.find((work) => ranked(work).length > 1);
  return compared === undefined ? found : [compared, ...found.filter((work) => work !== compared)];
}

// ---- the form

const NEAR = 1.5; // shapes within this factor in each number are similar
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
/** Reset what the changed field excludes: units an input that nobody typed, a mode the settings of others. */
function reset(changed) {
  if (changed === "want-input_size") state.ownInput = $(changed).value !== "";
  if (changed === "want-hidden_size" && !state.ownInput) $("want-input_size").value = "";
  if (changed !== "want-mode") return;
  const [mode, variant] = ["mode", "variant"].map((key) => chosenValue(key, optionText($(`want-${key}`))));
  const known = works.variant.filter((_, work) => works.mode[work] === mode);
  if (mode !== "training") pick("optimizer", "none");
  if (mode === "streaming") $("want-window").value = "";
  if (known.includes(variant) || (variant === "bidirectional" && mode !== "streaming")) return;
  const usual = mode === "streaming" ? known : ["", ...known];
  pick("variant", usual.find((each) => answers.has(keyOf({ ...typed(), variant: each }))) ?? usual[0] ?? "");
}
/** Put the question into the address, so that a link or the browser's history asks it again. */
function note(question) {
  const words = new URLSearchParams(KEYS.filter((key) => (question[key] ?? "") !== "").map((key) => [key, question[key]]));
  if (location.hash !== `#${words}`) history.pushState(null, "", `#${words}`);
}
function readAddress() {
  if (!location.hash.includes("=")) return start();
  fill({ num_layers: 1, variant: "", ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) });
  ask(typed());
}
function ask(question, work = null) {
  const found = question ? answersTo(question) : [];
  state.work = work ?? found[0] ?? null;
  if (question) fill(question);
  $("want-input_size").placeholder = $("want-hidden_size").value || "units";
  $("work").value = found.map(String).find((each) => [...$("work").options].some((option) => option.value === each)) ?? "";
  $("answer-session").hidden = found.length < 2;
  $("answer-of").replaceChildren(...[...found].sort((a, b) => a - b).map((each) => el("option", { value: each, selected: each === state.work }, sections[works.session[each]].title)));
  $("answer").replaceChildren(...(state.work === null ? unknown(question) : known(state.work)));
  showBackends();
  redraw("samples", "latency");
  if (question) follow({ ...question, kind: works.kind[state.work], session: works.session[state.work] });
  else update();
}
function askAbout(work) {
  ask(questionOf(work), work);
  note(questionOf(work));
  $("answer").focus({ preventScroll: true });
  $("asking").scrollIntoView({ block: "start" });
}
function known(work) {
  const [first, ...others] = works.answer[work];
  const lines = [el("p", { className: "main" }, first), ...others.map((text) => el("p", {}, text))];
  if (works.why[work]) lines.push(el("p", {}, `Why it takes that long: ${works.why[work]}.`));
  return [...lines, el("p", {}, "Case: ", el("code", {}, works.group[work]))];
}
/** Return the largest factor between the numbers of two queries, and the product of all. */
function factors(one, other) {
  const found = data.sizes.map((key) => {
    if (one[key] === other[key]) return 1;
    if (one[key] === null || other[key] === null) return Infinity; // cut into windows or not
    return Math.max(one[key] / other[key], other[key] / one[key]);
  });
  return [Math.max(...found), found.reduce((a, b) => a * b, 1)];
}
function unknown(question) {
  if (!answers.size) return [el("p", { className: "main" }, "Nothing on this page has a time; the reasons are below.")];
  if (!question) return [el("p", { className: "main" }, "Fill in whole numbers from 1 on. Input may be left out (as many as units), and window (none: the whole sequence at once).")];
  const lines = [el("p", { className: "main" }, "This page has no results of this shape.")];
  const others = [...answers.values()].map(([work]) => ({ work, question: questionOf(work) }));
  const near = others
    .filter((each) => data.choices.every((key) => each.question[key] === question[key]) && factors(each.question, question)[0] <= NEAR)
    .sort((a, b) => factors(a.question, question)[1] - factors(b.question, question)[1]);
  if (near.length) lines.push(el("p", {}, `Similar shapes (each number within a factor of ${NEAR}):`), offers(near.slice(0, 3)));
  else lines.push(el("p", {}, `No similar shape was measured (each number within a factor of ${NEAR}).`));
  const sizes = data.sizes.filter((key) => key !== "window");
  const otherwise = others.filter((each) => !near.includes(each) && sizes.every((key) => each.question[key] === question[key]));
  if (otherwise.length) lines.push(el("p", {}, "These sizes were measured with other settings:"), offers(otherwise.slice(0, 12)));
  const [words, why] = command(question);
  lines.push(words ? el("p", {}, "To measure it in about two minutes: ", el("code", { className: "command" }, words)) : el("p", {}, why));
  return lines;
}
const offers = (found) => el("ul", {}, ...found.map(({ work }) =>
  el("li", {}, el("button", { type: "button", className: "link", onclick: () => askAbout(work) }, works.text[work]), ` ${works.answer[work][0]}`)));
/** Return the command that measures a query, or why there is none. */
function command(question) {
  const { window: cut, timesteps, device, mode, variant } = question;
  if (cut !== null && (cut > timesteps || timesteps % cut)) return ["", `A window has to divide the ${timesteps} steps, so that all windows are equal.`];
  if (!/^(cpu|gpu:\d+)$/.test(device)) return ["", `No command measures on ${device}.`];
  if (mode === "streaming") return ["", "Streams are measured by a suite: python -m bench.run streaming."];
  if (variant && variant !== "bidirectional") return ["", `Measuring it with ${variant} needs a suite file (bench.run --suite).`];
  const given = [["batch", question.batch], ["steps", timesteps], ["hidden", question.hidden_size],
    ["input", question.input_size === question.hidden_size ? null : question.input_size],
    ["layers", question.num_layers > 1 ? question.num_layers : null], ["window", cut],
    ["dtype", question.dtype === "float32" ? null : question.dtype], ["optimizer", question.optimizer === "none" ? null : question.optimizer],
    ["device", device === "cpu" ? null : device], ["mode", mode]];
  const words = given.filter(([, value]) => value !== null).map(([key, value]) => `--${key} ${value}`);
  return [["python -m bench.ask", ...words, ...(variant ? ["--bidirectional"] : [])].join(" "), ""];
}
/** Show the backends of the query with bars of speed, fastest first, and those without a time. */
function showBackends() {
  if (state.work === null) return $("picture").replaceChildren();
  const order = ranked(state.work);
  const least = cases.time[order[0]];
  const lines = order.map((i) => {
    const [time, interval, speed, around, verdict, first, memory] = cases.texts[i];
    const bar = el("span", { className: "bar", "aria-hidden": "true", style: `width:${(100 * least) / cases.time[i]}%;background:${colour(cases.backend[i])}` });
    return [[cases.mark[i] ? `${cases.mark[i]} ` : "", name(i), bar], time, interval, speed && `${speed}×`, around, verdict, TRUST[cases.trust[i]], first, memory];
  });
  const headings = ["backend", "time of a step", "95% CI", "speedup", "99.5% CI", "verdict", "trust", "first result", "memory"];
  const shown = headings.map((_, place) => !place || lines.some((line) => line[place]));
  const built = el("table", { className: "backends" }, el("caption", {}, "The backends, the fastest first"),
    el("thead", {}, el("tr", {}, ...headings.filter((_, n) => shown[n]).map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line.map((text, n) => (n ? el("td", {}, text) : el("th", { scope: "row" }, ...text))).filter((_, n) => shown[n])))));
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
/** Let the filters pass the shape of a question: device, mode and precision become its own. */
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

const MOST_SHAPES = 40;
function showWhere(timed, most = MOST_SHAPES) {
  const shapes = [...new Set(timed.map((i) => cases.work[i]))].sort((a, b) => (b === state.work) - (a === state.work));
  const gains = new Map();
  for (const i of timed) gains.set(cases.backend[i], [...(gains.get(cases.backend[i]) ?? []), ...(cases.speed[i] ? [Math.log(cases.speed[i])] : [])]);
  const mean = (logs) => (logs.length ? logs.reduce((a, b) => a + b, 0) / logs.length : -Infinity);
  const order = [...gains.keys()].sort((a, b) => mean(gains.get(b)) - mean(gains.get(a)));
  const kept = new Set(timed);
  const lines = shapes.slice(0, most).map((work) => {
    const here = new Map(byWork[work].filter((i) => kept.has(i)).map((i) => [cases.backend[i], i]));
    return el("tr", work === state.work ? { "aria-current": "true" } : {}, el("th", { scope: "row" }, el("button", { type: "button", className: "link", onclick: () => askAbout(work) }, capital(works.text[work]))),
      ...order.map((backend) => heat(here.get(backend))));
  });
  const built = el("table", { className: "heat" }, el("caption", {}, "Speedup over the baseline"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "shape"), ...order.map((backend) => el("th", { scope: "col" }, backends[backend])))), el("tbody", {}, ...lines));
  const left = shapes.length - most;
  $("where").replaceChildren(...(shapes.length ? [scrolling("Speedup by shape and backend", built)] : [el("p", {}, "No selected case has a time.")]),
    ...(left > 0 ? [el("button", { type: "button", onclick: () => showWhere(timed, Infinity) }, `Show ${left.toLocaleString("en")} more shapes`)] : []));
}
function heat(i) {
  if (i === undefined) return el("td", {}, "–");
  const [time, , speed, around, verdict] = cases.texts[i];
  if (invalid(i)) return el("td", { className: "bad", title: whys[cases.why[i]] }, "INVALID");
  const cell = el("td", { title: [time, around, verdict].filter(Boolean).join("; ") }, `${speed || time} ${cases.mark[i]}`.trim());
  if (["FASTER", "SLOWER"].includes(cases.verdict[i])) {
    const strength = Math.min(1, Math.abs(Math.log(cases.speed[i])) / Math.log(4));
    cell.style.background = `rgb(${cases.verdict[i] === "FASTER" ? "42 150 212" : "213 94 0"} / ${Math.round(12 + 38 * strength)}%)`;
  }
  return cell;
}

// ---- plots

const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "triangle-left"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const look = (backend) => ({ color: colour(backend), symbol: SYMBOLS[data.looks[backend][1]], size: 8 });
const of = (key) => (i) => works[key][cases.work[i]];
const per = (key, amount) => (i) => (cases[key][i] ? amount(i) / cases[key][i] : null);
/** Each quantity by its heading, as [value, low, high] of a case. */
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
/** Return what the cases of one line share. */
function lineKey(i, across) {
  const work = cases.work[i];
  const square = across === "hidden size" && works.input_size[work] === works.hidden_size[work];
  return JSON.stringify([cases.backend[i], ...["session", "kind", ...KEYS].filter((key) => key !== AXIS[across]).map((key) => (square && key === "input_size" ? "=" : works[key][work]))]);
}
function explore() {
  const [up, across] = [$("y-axis").value, $("x-axis").value];
  const points = state.chosen.filter((i) => measured(i) && ACROSS[across](i) !== null && UP[up](i)[0]);
  const shown = points.slice(0, MOST_MARKS);
  if (!shown.length) return { description: "No selected case has these figures." };
  const lines = new Map();
  const roofline = across === "operations per byte";
  for (const i of shown) {
    const key = roofline ? `${cases.backend[i]}` : lineKey(i, across);
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(i);
  }
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
  const more = points.length - shown.length;
  return {
    description: `${capital(up)} against ${across}${bounds(up)}.${modes.length > 1 ? ` Lines: ${modes.map((mode, n) => `${mode} ${["solid", "dashed", "dotted", "dash-dotted"][n % 4]}`).join(", ")}.` : ""}${faded ? " Faint: lines that do not pass through the shape above." : ""}${shown.some(invalid) ? " Hollow: INVALID." : ""}${more > 0 ? ` The first ${MOST_MARKS.toLocaleString("en")} of ${points.length.toLocaleString("en")} cases; filters choose.` : ""}`,
    traces, layout: { xaxis: { type: "log", title: { text: across } }, yaxis: { type: "log", title: { text: up } } },
    headings: ["backend", "shape", across, up, "trust"], rows: shown.map((i) => [name(i), works.text[cases.work[i]], number(ACROSS[across](i)), number(UP[up](i)[0]), TRUST[cases.trust[i]]]),
  };
}
const bounds = (up) => (up.startsWith("speedup") ? ", with 99.5% CI" : /^(sequences|time of)/.test(up) ? ", with 95% CI" : "");
const median = (values) => { const sorted = [...values].sort((a, b) => a - b); const at = sorted.length / 2; return sorted.length % 2 ? sorted[Math.floor(at)] : (sorted[at - 1] + sorted[at]) / 2; };
/** Return a case's samples in seconds by process, from what pack_samples of page.py wrote. */
function samplesOf(i) {
  const [low, high, sizes, text] = data.samples[i];
  const bytes = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  let place = 0;
  return sizes.map((size) => Array.from({ length: size }, () => low * (high / low) ** (bytes.getUint16(2 * place++, true) / 65535)));
}
function processes() {
  const order = state.work === null ? [] : ranked(state.work);
  const samples = new Map(order.map((i) => [i, samplesOf(i)]));
  return {
    description: `Every sample of ${works.text[state.work]}: a box for each process${data.complete ? "" : ", of its order statistics"}.`,
    traces: order.map((i) => ({
      type: "box", name: plain(name(i), 30), marker: { color: colour(cases.backend[i]), size: 3 }, boxpoints: "all", jitter: 0.5, pointpos: 0, line: { width: 1 },
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
  const total = (i) => data.latency[i].bins.reduce((sum, [, calls]) => sum + calls, 0);
  const marks = [...new Set(found.flatMap((i) => data.latency[i].parts.map(([part]) => part)))];
  return {
    description: "Share of the calls by their latency, from when they were due; marks are percentiles.",
    traces: [
      ...found.map((i) => ({ x: data.latency[i].bins.map(([at]) => at), y: data.latency[i].bins.map(([, calls]) => calls / total(i)), name: plain(name(i), 40), mode: "lines", line: { color: colour(cases.backend[i]), shape: "hvh" } })),
      ...found.map((i) => ({ x: data.latency[i].parts.map(([, at]) => at), y: data.latency[i].parts.map(([part]) => Math.max(1e-6, 1 - part / 100)), text: data.latency[i].parts.map(([part]) => `p${part}`), mode: "markers+text", textposition: "top center", showlegend: false, marker: look(cases.backend[i]) })),
    ],
    layout: { xaxis: { type: "log", title: { text: "latency (s)" } }, yaxis: { type: "log", title: { text: "share of calls" } } },
    headings: ["backend", "calls", ...marks.map((part) => `p${part}`), "late"],
    rows: found.map((i) => [name(i), data.latency[i].calls.toLocaleString("en"), ...marks.map((part) => data.latency[i].parts.find(([each]) => each === part)?.[2] ?? ""), data.latency[i].missed === null ? "" : String(data.latency[i].missed)]),
  };
}
const VIEWS = { explore, samples: processes, latency };
const stale = new Set(Object.keys(VIEWS));
const near = new Set();
const tone = (key) => getComputedStyle(document.documentElement).getPropertyValue(`--${key}`).trim();
/** Plotly's script, which is unpacked and parsed when the first plot is near. */
const plotly = {
  failed: false,
  started: false,
  async load() {
    if (this.started) return;
    this.started = true;
    try {
      const packed = Uint8Array.from(atob($("plotly").textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const textContent = await new Response(stream).text();
      // The page's policy has the hash of this text.
      document.body.append(el("script", { textContent }));
    } catch { /* The browser is older than DecompressionStream, or refuses the script. */ }
    this.failed = !window.Plotly;
    $("no-plots").hidden = !this.failed;
    if (this.failed) redraw(...Object.keys(VIEWS));
    else for (const id of near) if (stale.has(id)) draw(id);
  },
};
/** Update descriptions now, and plots when they are near the visible part of the page. */
function redraw(...ids) {
  for (const id of ids) {
    stale.add(id);
    $(id).setAttribute("aria-busy", "true");
    const found = VIEWS[id]();
    VIEWS[id].shown = found;
    $(id).hidden = id === "explore" ? !all.some(measured) : !found.rows.length;
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
    if (!window.Plotly) return void plotly.load();
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
  if (!$("case-fold").open) return;
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

/** Rate a question: several backends, training, the whole sequence, nothing unusual, and Keras's default batch are the commonest. */
const commonness = (work) => 16 * (ranked(work).length > 1) + 8 * (works.mode[work] === "training") + 4 * (works.window[work] === null) + 2 * (works.variant[work] === "") + (works.optimizer[work] === "none") + (works.batch[work] === 32) / 2;
function start() {
  const [first] = [...answers.values()].flat().sort((a, b) => commonness(b) - commonness(a) || a - b);
  clearFilters();
  ask(first === undefined ? null : questionOf(first));
  state.ownInput = false;
}
$("asking").hidden = $("explorer").hidden = false;
for (const [id, values] of [["y-axis", UP], ["x-axis", ACROSS]]) $(id).append(...Object.keys(values).map((key) => el("option", { value: key }, key)));
for (const id of ["y-axis", "x-axis"]) $(id).addEventListener("change", () => redraw("explore"));
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
for (const [id, on] of [["backends-all", true], ["backends-none", false]])
  $(id).addEventListener("click", () => {
    for (const box of $("backends").querySelectorAll("input")) box.checked = on;
    update();
  });
$("reset").addEventListener("click", () => {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  start();
});
addEventListener("popstate", readAddress);
for (const id of ["outcome", "sort"]) $(id).addEventListener("change", () => { state.page = 0; showCases(); });
for (const [id, by] of [["previous", -1], ["next", 1]]) $(id).addEventListener("click", () => { state.page += by; showCases(); });
$("case-fold").addEventListener("toggle", showCases);
for (const id of Object.keys(VIEWS)) $(id).querySelector("details").addEventListener("toggle", () => redraw(id));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    near.add(target.id);
    if (stale.has(target.id)) draw(target.id);
  }
}, { rootMargin: "300px" });
const again = (width) => Object.keys(VIEWS).forEach((id) => near.has(id) && draw(id, width));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => again());
addEventListener("beforeprint", () => again(680));
addEventListener("afterprint", () => again());
clearFilters();
readAddress();
for (const id of Object.keys(VIEWS)) watcher.observe($(id));
performance.mark("usable");
})();
