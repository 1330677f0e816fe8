// The question at the top of the page: one amount of work, its answer, and the backends as dots.
//
// It is looked for among all sessions that the page holds, whatever the filters below say. What was
// not measured is not answered: the near ones are named, and the command that measures it.

const NUMBERS = [
  ["batch", "Batch"], ["timesteps", "Steps"], ["input_size", "Input"], ["hidden_size", "Units"],
  ["num_layers", "Layers"], ["window", "Window"],
];
const CHOICES = [["dtype", "Precision"], ["optimizer", "Optimizer"], ["device", "Device"], ["mode", "Mode"], ["variant", "Besides"]];
// Beyond this factor in any of its numbers one shape says nothing of another.
const NEAR = 1.5;
const MOST_NEAR = 3;
const MOST_OTHERWISE = 12;
const MOST_LISTED = 1000;
const NO_OPTIMIZER = "none";

/** The question that a work answers. */
function questionOf(work) {
  const i = byWork[work][0];
  const found = { variant: works.variant[work], optimizer: word("optimizer", i) || NO_OPTIMIZER };
  for (const [key] of NUMBERS) found[key] = cases[key][i];
  for (const key of ["dtype", "device", "mode"]) found[key] = word(key, i);
  return found;
}
const KEYS = [...NUMBERS, ...CHOICES].map(([key]) => key);
const keyOf = (question) => JSON.stringify(KEYS.map((key) => question[key] ?? null));
/** The works that answer each question: those of the newest session first, as in the report. */
const asked = new Map();
for (const work of byWork.keys()) {
  if (!byWork[work].some(measured)) continue;
  const key = keyOf(questionOf(work));
  if (!asked.has(key)) asked.set(key, []);
  asked.get(key).push(work);
}
const questions = [...asked].map(([key, found]) => ({ key, works: found, question: questionOf(found[0]) }));

/** Works that answer this question, the one that is shown first: two backends or more, then newer. */
function answersTo(question) {
  const found = asked.get(keyOf(question)) ?? [];
  const compared = found.filter((work) => ranked(work).length > 1);
  return compared.length ? [compared[0], ...found.filter((work) => work !== compared[0])] : found;
}
/** By how much two questions differ in their numbers: the largest factor, and all of them together. */
function factors(one, other) {
  const found = NUMBERS.map(([key]) => {
    const pair = [one[key], other[key]];
    if (pair[0] === pair[1]) return 1;
    if (pair.includes(null)) return Infinity; // cut into windows or not is no matter of more or less
    return Math.max(pair[0] / pair[1], pair[1] / pair[0]);
  });
  return { largest: highest(found), all: found.reduce((a, b) => a * b, 1) };
}
const alikeIn = (keys, one, other) => keys.every((key) => one[key] === other[key]);
/** What was measured near a question, and what with the same numbers but otherwise. */
function around(question) {
  const choices = CHOICES.map(([key]) => key);
  const same = questions.filter((each) => alikeIn(choices, each.question, question))
    .map((each) => ({ ...each, far: factors(each.question, question) }))
    .sort((a, b) => a.far.all - b.far.all);
  const near = same.filter((each) => each.far.largest <= NEAR);
  const sizes = NUMBERS.map(([key]) => key).filter((key) => key !== "window");
  const apart = (each) => KEYS.filter((key) => each.question[key] !== question[key]).length;
  const otherwise = questions.filter((each) => alikeIn(sizes, each.question, question)).sort((a, b) => apart(a) - apart(b));
  return { near: near.slice(0, MOST_NEAR), nearest: same[0], otherwise };
}

// ---- in words

function told(question) {
  const { batch, timesteps, input_size, hidden_size, num_layers, window, optimizer, variant } = question;
  return [
    `batch ${batch} × ${timesteps} step${timesteps === 1 ? "" : "s"}`, `${input_size} in, ${hidden_size} hidden`,
    num_layers > 1 ? `${num_layers} layers` : "", window == null ? "" : `windows of ${window}`,
    optimizer === NO_OPTIMIZER ? "" : `${optimizer} updates`, variant,
  ].filter(Boolean).join(", ") + `; ${question.mode} on ${question.device}, ${question.dtype}`;
}
/** What of a question is not as in another. */
function differences(question, other) {
  const words = [];
  if (question.window !== other.window) words.push(question.window == null ? "the whole sequence at once" : `windows of ${question.window}`);
  for (const [key] of CHOICES) {
    if (question[key] === other[key]) continue;
    if (key === "optimizer") words.push(question[key] === NO_OPTIMIZER ? "no update of the weights" : `${question[key]} updates`);
    else if (key === "variant") words.push(question[key] || "nothing besides");
    else if (key === "device") words.push(`on ${question[key]}`);
    else words.push(question[key]);
  }
  return words.join(", ");
}
/** The command that measures it, or why there is none. */
function command(question) {
  if (question.window != null && question.timesteps % question.window)
    return { why: `A window has to divide the ${question.timesteps} steps, so that all windows are alike.` };
  if (question.window > question.timesteps) return { why: "A window is at most as long as the steps." };
  if (!/^(cpu|gpu:\d+)$/.test(question.device)) return { why: `No command measures on ${question.device}.` };
  if (question.mode === "streaming") return { why: "Streams are measured by a suite: python -m bench.run streaming, or one of your own." };
  const variant = question.variant.split(", ");
  const both = variant[0] === "bidirectional";
  if (variant.length > 1 || (question.variant && !both)) return { why: `To measure it with ${question.variant} takes a suite file (bench.run --suite).` };
  const parts = ["python -m bench.ask", `--batch ${question.batch}`, `--steps ${question.timesteps}`, `--hidden ${question.hidden_size}`];
  if (question.input_size !== question.hidden_size) parts.push(`--input ${question.input_size}`);
  if (question.num_layers > 1) parts.push(`--layers ${question.num_layers}`);
  if (both) parts.push("--bidirectional");
  if (question.window != null) parts.push(`--window ${question.window}`);
  if (question.dtype !== "float32") parts.push(`--dtype ${question.dtype}`);
  if (question.optimizer !== NO_OPTIMIZER) parts.push(`--optimizer ${question.optimizer}`);
  if (question.device !== "cpu") parts.push(`--device ${question.device}`);
  parts.push(`--mode ${question.mode}`);
  return { words: parts.join(" ") };
}

// ---- the form

const state = { question: null, work: null, backends: new Set(), filters: {}, valid: false, page: 0, sample: null };

function makeQuestion() {
  const holder = $("question-fields");
  for (const [key, label] of NUMBERS) {
    const input = made("input", "", { type: "number", min: "1", step: "1", inputmode: "numeric" });
    if (key === "window") input.placeholder = "none";
    if (key === "input_size") input.placeholder = "units";
    if (key === "num_layers") input.value = "1";
    holder.append(field(`want-${key}`, label, input));
  }
  const possible = {
    dtype: data.choices.dtype, mode: data.choices.mode, optimizer: [NO_OPTIMIZER, ...data.choices.optimizer],
    device: ["cpu", "gpu:0", ...words.device], variant: ["", ...works.variant],
  };
  for (const [key, label] of CHOICES) {
    const select = made("select");
    for (const each of new Set(possible[key])) option(select, each, key === "variant" ? each || "nothing" : each);
    if (key === "dtype") select.value = "float32";
    const whole = field(`want-${key}`, label, select);
    // Of what no session has there is nothing to choose.
    whole.hidden = key === "variant" && select.length < 2;
    holder.append(whole);
  }
  const select = made("select");
  option(select, "", questions.length > MOST_LISTED ? `choose one (the first ${grouped(MOST_LISTED)} of ${grouped(questions.length)})` : "choose one");
  for (const each of questions.slice(0, MOST_LISTED)) option(select, each.key, told(each.question));
  const whole = field("work", `or one of the ${many(questions.length, "shape")} that were measured`, select);
  whole.className = "wide";
  holder.append(whole);
  $("question").addEventListener("submit", (event) => event.preventDefault());
  $("question").addEventListener("change", (event) => {
    if (event.target === select) {
      const chosen = questions.find((each) => each.key === select.value);
      if (chosen) ask(chosen.question);
    } else ask(typed());
  });
}
/** What stands in the form; null where a number is missing or none. */
function typed() {
  const found = {};
  for (const [key] of NUMBERS) {
    const text = $(`want-${key}`).value.trim();
    found[key] = text === "" ? null : Number(text);
    if (text === "" && (key === "window" || key === "input_size") && !$(`want-${key}`).validity.badInput) continue;
    if (!Number.isInteger(found[key]) || found[key] < 1) return null;
  }
  for (const [key] of CHOICES) found[key] = $(`want-${key}`).value;
  found.input_size ??= found.hidden_size;
  return found;
}
function ask(question, work = null) {
  state.question = question;
  const found = question ? answersTo(question) : [];
  state.work = work ?? found[0] ?? null;
  showQuestion(found);
  showAnswer(found);
  showDots();
  redraw((each) => each.ofWork || each.root.id === "across");
}
/** Ask for what a button or a line of a table names, and show it. */
function askAbout(work) {
  ask(questionOf(work), work);
  $("answer").focus({ preventScroll: true });
  $("asking").scrollIntoView({ block: "start" });
}
function showQuestion(found) {
  const { question } = state;
  // What is typed and is no question stays, to be mended.
  if (question) for (const key of KEYS) $(`want-${key}`).value = question[key] ?? "";
  // As many features as units is what an empty field means: then one number changes both.
  if (question && question.input_size === question.hidden_size) $("want-input_size").value = "";
  $("work").value = found.length ? keyOf(question) : "";
  if ($("work").selectedIndex < 0) $("work").value = "";
  const holder = $("answer-session");
  holder.hidden = found.length < 2;
  holder.replaceChildren();
  if (found.length < 2) return;
  const select = made("select");
  for (const work of [...found].sort((a, b) => a - b)) option(select, work, sections[cases.section[byWork[work][0]]].title);
  select.value = String(state.work);
  select.addEventListener("change", () => {
    ask(state.question, Number(select.value));
    $("answer-of").focus();
  });
  const whole = field("answer-of", `Measured in ${many(found.length, "session")}; shown is`, select);
  whole.className = "wide";
  holder.append(whole);
}

// ---- the answer

function showAnswer(found) {
  const { question, work } = state;
  const lines = [];
  if (!question) {
    if (!questions.length) lines.push(made("p", "Nothing on this page has a time; why stands below, in full.", { kind: "main" }));
    lines.push(made("p", "Fill in whole numbers from 1 on. Input may be left out (as many as units), and window (none: the whole sequence at once).", { kind: questions.length ? "main" : "" }));
  } else if (work !== null) {
    const [first, ...others] = works.said[work];
    lines.push(made("p", first, { kind: "main" }));
    const last = made("p", `${others.pop()} `, { children: ["Case: ", made("code", works.group[work])] });
    // The last of those between is what makes it INVALID.
    const doubt = invalid(ranked(work)[0]) ? others.length - 1 : -1;
    for (const [place, each] of others.entries()) lines.push(made("p", each, { kind: place === doubt ? "bad" : "" }));
    if (works.why?.[work]) lines.push(made("p", `Why it takes that long: ${works.why[work]}.`));
    lines.push(last);
  } else {
    lines.push(made("p", `Not measured in what this page holds: ${told(question)}.`, { kind: "main" }));
    const { near, nearest, otherwise } = around(question);
    if (near.length) lines.push(made("p", `Near, and measured (each number within a factor of ${NEAR}):`), offers(near, (each) => told(each.question), (said) => said));
    else lines.push(made("p", nothingNear(nearest, question)));
    if (otherwise.length) lines.push(made("p", "These very sizes were measured otherwise:"), offers(otherwise.slice(0, MOST_OTHERWISE), (each) => capitalised(differences(each.question, question)), shortened));
    if (otherwise.length > MOST_OTHERWISE) lines.push(made("p", `And ${otherwise.length - MOST_OTHERWISE} more: they are in the list under the fields.`));
    const how = command(question);
    lines.push(how.words
      ? made("p", "To measure it and have the answer in two minutes: ", { children: [made("code", how.words, { kind: "command" })] })
      : made("p", how.why));
  }
  $("answer").replaceChildren(...lines);
}
function nothingNear(nearest, question) {
  const start = `Nothing near it was measured (each number within a factor of ${NEAR}).`;
  if (!nearest || nearest.far.largest === Infinity) return start;
  return `${start} The nearest is ${told(nearest.question).split(";")[0]}: up to ${ratio(factors(nearest.question, question).largest)} times as much or as little, which says nothing of yours.`;
}
/** A list of what may be asked instead, each with its own answer. */
function offers(found, name, saying) {
  return made("ul", "", { children: found.map((each) => {
    const button = made("button", name(each), { type: "button", kind: "link" });
    const work = answersTo(each.question)[0];
    button.addEventListener("click", () => askAbout(work));
    return made("li", "", { children: [button, made("span", ` ${saying(works.said[work][0])}`)] });
  }) });
}
/** Of an answer whom to use and the time, without how it stands to others. */
const shortened = (said) => said.replace(/: [\d.∞]+ times as fast as .*$/, ".");

// ---- its picture

/** Where to put a value on a logarithmic axis, in percent. */
const onAxis = ([low, high]) => (value) => (100 * (Math.log(Math.min(Math.max(value, low), high)) - Math.log(low))) / (Math.log(high) - Math.log(low));

/** The backends as dots with their intervals on one axis, the baseline marked. */
function showDots() {
  const order = state.work === null ? [] : ranked(state.work);
  if (!order.length) {
    $("picture").replaceChildren();
    return;
  }
  const speeds = order.some((i) => speedup(i) && !isBaseline(i));
  const valueOf = (i) => (speeds ? speedup(i) : [cases.time_low_s[i] ?? cases.time_s[i], cases.time_s[i], cases.time_high_s[i] ?? cases.time_s[i]]);
  const format = speeds ? (v) => `${digits(v)}×` : seconds;
  const shown = order.map(valueOf).filter(Boolean);
  const [least, most] = [lowest(shown.map((v) => v[1])), highest(shown.map((v) => v[1]))];
  // An interval of few processes reaches far: what is beyond twice the outermost dot leaves the picture.
  let range = [Math.max(lowest(shown.map((v) => v[0])), least / 2) / 1.05, Math.min(highest(shown.map((v) => v[2])), most * 2) * 1.05];
  if (range[1] / range[0] < 1.5) range = [Math.sqrt(range[0] * range[1] / 1.5), Math.sqrt(range[0] * range[1] * 1.5)];
  const at = onAxis(range);
  const { tickvals } = ticks(range[0], range[1], format, narrow() ? 4 : 7);
  const lines = tickvals.map((v) => made("i", "", { kind: speeds && v === 1 ? "one" : "", style: `left:${at(v)}%` }));
  if (speeds && !tickvals.includes(1) && range[0] < 1 && range[1] > 1) lines.push(made("i", "", { kind: "one", style: `left:${at(1)}%` }));
  const rows = order.map((i, place) => {
    const track = made("span", "", { kind: "track", "aria-hidden": "true", children: lines.map((line) => line.cloneNode()) });
    const value = valueOf(i);
    if (value) {
      const [low, mid, high] = value;
      const bar = made("span", "", { kind: "reach", style: `left:${at(low)}%;width:${at(high) - at(low)}%;background:${colour(cases.backend[i])}` });
      const dot = mark(cases.backend[i], invalid(i));
      dot.style.left = `${at(mid)}%`;
      track.append(...(low === high ? [] : [bar]), dot);
    }
    const best = place || order.length < 2 || cases.rank[i] !== 1 ? "" : cases.fastest[i] ? "★ " : "☆ ";
    const numbers = [seconds(cases.time_s[i]), speedWords(i), invalid(i) ? "INVALID" : doubtful(i) ? "doubtful time" : ""].filter(Boolean).join(" · ");
    return made("li", "", { children: [made("span", best, { kind: "who", children: breakable(backend(i)) }), track, made("span", numbers, { kind: "much" })] });
  });
  rows.push(made("li", "", { kind: "axis", "aria-hidden": "true", children: [made("span"), made("span", "", { kind: "track", children:
    tickvals.map((v) => made("i", short(format(v)), { style: `left:${at(v)}%` })) }), made("span")] }));
  const [first] = order;
  const says = speeds
    ? `How many times as fast as ${baseName(first)} (the line at 1), with 99.5% intervals of the paired comparison: the further right the faster.`
    : "Time of a step, with 95% intervals: the further left the faster.";
  const stars = order.length > 1 ? ` ${data.marks}.` : "";
  const hollow = order.some(invalid) ? " Hollow: INVALID." : "";
  const without = byWork[state.work].filter((i) => !measured(i));
  $("picture").replaceChildren(
    made("ol", "", { kind: "dots", "aria-label": "The backends, the fastest first", children: rows }),
    made("p", says + stars + hollow, { kind: "says dim" }),
    behind("The table behind the picture", () => table(capital(workOf(first)),
      ["backend", "time of a step", "95% interval", "sequences/s", "timesteps/s", "times as fast", "99.5% interval", "verdict", "trust"],
      order.map((i) => {
        const quick = speedup(i);
        return [backend(i), seconds(cases.time_s[i]), bounds(i), rate(sequences(i)), rate(cases.timesteps_per_s[i]),
          quick ? ratio(quick[1]) : "", quick && !isBaseline(i) ? ratioRange(quick[0], quick[2]) : "", isBaseline(i) ? "baseline" : word("verdict", i), trusted(i)];
      }))),
    ...(without.length ? [behind(`${many(without.length, "backend")} without a time here, and why`, () =>
      made("ul", "", { children: without.map((i) => made("li", `${backend(i)}, ${outcome(i)}: ${why(i) || "no reason was recorded"}`)) }))] : []),
  );
}
/** Something folded, made when it is first opened. */
function behind(summary, make) {
  const found = made("details", "", { kind: "behind", children: [made("summary", summary)] });
  found.addEventListener("toggle", () => { if (found.open && found.children.length < 2) found.append(make()); });
  return found;
}
