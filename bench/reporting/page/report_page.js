// What makes the report's page one to explore: filters, plots and tables over the data that the
// page carries. It knows report_html_data's columns and report_page.html's elements.
//
// Names and reasons may come from anywhere. They enter the page through textContent only, and what
// goes to Plotly, which reads a little HTML in its labels, goes through plain().
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("results").textContent);
  const { sections, words } = data;
  const count = data.cases.section.length;
  const empty = new Array(count).fill(null);
  // A column that no case has is not carried.
  const cases = new Proxy(data.cases, { get: (all, key) => all[key] ?? empty });
  const all = Array.from({ length: count }, (_, index) => index);
  const $ = (id) => document.getElementById(id);

  // ---- words and numbers

  /** Text for Plotly's labels: nothing in it is markup or a formula; of a long one the beginning. */
  function plain(text, most = 80) {
    const letters = [...String(text).slice(0, 4 * most)].filter((c) => !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(c));
    const short = letters.length > most ? letters.slice(0, most - 1).join("") + "…" : letters.join("");
    return short.replace(/[&<>$]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  }
  const word = (key, index) => words[key][cases[key][index]] ?? "";
  const digits = (value) =>
    Math.abs(value) >= 999.5 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  function scaled(value, units) {
    const [size, unit] = units.find(([each]) => value >= 0.9995 * each) ?? units[units.length - 1];
    return `${digits(value / size)}${unit}`;
  }
  const lowest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
  const highest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const known = (format) => (value) => (value == null ? "" : format(value));
  const seconds = known((v) => scaled(v, [[1, " s"], [1e-3, " ms"], [1e-6, " µs"], [1e-9, " ns"]]));
  const bytes = known((v) => scaled(v, [[2 ** 30, " GiB"], [2 ** 20, " MiB"], [1024, " KiB"], [1, " B"]]));
  const rate = known((v) => scaled(v, [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4 / 10, "k"], [1e-9, ""]].map(
    ([size, unit]) => (unit === "k" && v < 9995 ? [Infinity, unit] : unit ? [size, unit] : [1, ""]))));
  const times = known((v) => `${digits(v)}×`);
  const percent = known((v) => `${digits(100 * v)}%`);
  const range = (format, low, high) => (low == null || high == null ? "" : `${format(low)} to ${format(high)}`);
  const many = (number, noun) =>
    `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;

  // ---- what is in the data

  const measured = (i) => cases.time_s[i] != null;
  const flag = (key, i) => cases[key]?.[i] ?? null;
  const ownInvalid = (i) => cases.valid[i] === 0;
  const invalid = (i) => ownInvalid(i) || flag("ratio_valid", i) === 0;
  const doubtful = (i) => !ownInvalid(i) && flag("time_valid", i) === 0;
  const workOf = (i) => words.work[cases.work[i]];
  const byWork = new Map();
  for (const i of all) {
    const work = cases.work[i];
    if (!byWork.has(work)) byWork.set(work, []);
    byWork.get(work).push(i);
  }
  // Works that are the same but for their device.
  const shapeKey = (i) => ["section", "mode", "dtype"].map((key) => cases[key][i]).concat(workOf(i)).join(" ");
  const byShape = new Map();
  for (const [work, [i]] of byWork) {
    const key = shapeKey(i);
    if (!byShape.has(key)) byShape.set(key, []);
    byShape.get(key).push(work);
  }
  const trusted = (i) => (measured(i) ? (invalid(i) ? "INVALID" : doubtful(i) ? "doubtful time" : "trusted") : word("outcome", i).replace(/_/g, " "));

  // ---- colours and symbols of backends: a legend that is also the filter

  // Each has a contrast of at least 3:1 to both backgrounds (WCAG 2.2, 1.4.11).
  const COLOURS = ["#3a80c9", "#c9622a", "#2f8f5b", "#d14a63", "#9467bd", "#9a7326", "#178c9c", "#c2559b"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "x", "triangle-down"];
  const GLYPHS = ["●", "■", "◆", "▲", "✚", "★", "✖", "▼"];
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const colour = (b) => COLOURS[b % COLOURS.length];
  const place = (b) => (b + Math.floor(b / COLOURS.length)) % SYMBOLS.length;
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // ---- the filters

  const DIMENSIONS = [
    ["section", "Session", (v) => sections[v].title],
    ["device", "Device", (v) => words.device[v]],
    ["mode", "Mode", (v) => words.mode[v]],
    ["dtype", "Precision", (v) => words.dtype[v]],
    ["kind", "Kind", (v) => words.kind[v]],
    ["batch", "Batch"],
    ["timesteps", "Steps of time"],
    ["hidden_size", "Units (hidden size)"],
    ["input_size", "Features in"],
    ["num_layers", "Layers"],
    ["bidirectional", "Directions", (v) => (v ? "both" : "one")],
  ];
  // One of these at a time: to compare across them is what the plots do when "all" is chosen.
  const ONE_AT_FIRST = ["section", "device", "mode", "dtype", "kind"];
  const state = { backends: new Set(), filters: {}, valid: false, baseline: -1, work: null, page: 0, sample: null };

  const values = (key) => [...new Set(cases[key])].filter((v) => v != null).sort((a, b) => a - b);

  function option(select, value, text) {
    const made = new Option(text, String(value));
    select.append(made);
    return made;
  }
  function field(parent, id, label) {
    const holder = document.createElement("div");
    const name = document.createElement("label");
    name.htmlFor = id;
    name.textContent = label;
    const select = document.createElement("select");
    select.id = id;
    holder.append(name, select);
    parent.append(holder);
    return select;
  }

  /** The mark that a backend has in the plots. */
  function swatch(number) {
    const made = document.createElement("span");
    made.className = "swatch";
    made.setAttribute("aria-hidden", "true");
    made.style.color = colour(number);
    made.textContent = GLYPHS[place(number)];
    return made;
  }

  function makeFilters() {
    for (const [key, label, say] of DIMENSIONS) {
      const found = values(key);
      if (found.length < 2) continue;
      const select = field($("filter-fields"), `filter-${key}`, label);
      option(select, "all", "all");
      for (const value of found) option(select, value, say ? say(value) : value.toLocaleString("en"));
      select.addEventListener("change", () => {
        state.filters[key] = select.value === "all" ? null : Number(select.value);
        update();
      });
    }
    const select = field($("filter-fields"), "baseline", "Speed-up over");
    select.addEventListener("change", () => {
      state.baseline = Number(select.value);
      update();
    });
    option(select, -1, sections.length === 1 ? `${words.backend[sections[0].baseline] ?? "none"} (the report's)` : "the report's");
    const timed = new Set(all.filter(measured).map((i) => cases.backend[i]));
    for (const [number, name] of words.backend.entries()) if (timed.has(number)) option(select, number, name);

    for (const [number, name] of words.backend.entries()) {
      const label = document.createElement("label");
      label.className = "tick";
      const box = document.createElement("input");
      box.type = "checkbox";
      box.value = String(number);
      label.append(box, swatch(number), name);
      box.addEventListener("change", () => {
        if (box.checked) state.backends.add(number);
        else state.backends.delete(number);
        update();
      });
      $("backends").append(label);
    }
    const every = (on) => () => {
      state.backends = new Set(on ? words.backend.keys() : []);
      showFilters();
      update();
    };
    $("backends-all").addEventListener("click", every(true));
    $("backends-none").addEventListener("click", every(false));
    $("valid-only").addEventListener("change", (event) => {
      state.valid = event.target.checked;
      update();
    });
    $("reset").addEventListener("click", () => {
      start();
      update();
    });
    for (const form of document.querySelectorAll("#explorer form"))
      form.addEventListener("submit", (event) => event.preventDefault());
  }

  /** As it is when the page opens: the newest session, the first device, plain shapes. */
  function start() {
    state.backends = new Set(words.backend.keys());
    state.valid = false;
    state.baseline = -1;
    state.page = 0;
    state.sample = null;
    state.filters = {};
    const times = all.filter(measured);
    for (const key of ONE_AT_FIRST) {
      const first = times.find((i) => Object.entries(state.filters).every(([k, v]) => cases[k][i] === v));
      if (first !== undefined) state.filters[key] = cases[key][first];
    }
    const one = pick(["section", "device", "mode", "dtype", "kind"]).find(measured);
    state.work = one === undefined ? null : cases.work[one];
    state.want = null;
    $("outcome").value = "all";
    $("sort").value = "report";
    startAxes();
    showFilters();
  }
  function showFilters() {
    for (const [key] of DIMENSIONS) {
      const select = $(`filter-${key}`);
      if (select) select.value = String(state.filters[key] ?? "all");
    }
    $("baseline").value = String(state.baseline);
    $("valid-only").checked = state.valid;
    for (const box of $("backends").querySelectorAll("input")) box.checked = state.backends.has(Number(box.value));
  }

  /** The cases that the filters leave; of the filters only those in `keys`, if given. */
  function pick(keys = DIMENSIONS.map(([key]) => key)) {
    const wanted = keys.filter((key) => state.filters[key] != null).map((key) => [cases[key], state.filters[key]]);
    return all.filter(
      (i) =>
        wanted.every(([column, value]) => column[i] === value) &&
        state.backends.has(cases.backend[i]) &&
        !(state.valid && invalid(i)),
    );
  }

  // ---- speed-up: the report's own ratios where they are to the chosen baseline

  function baselineOf(i) {
    return state.baseline >= 0 ? state.baseline : sections[cases.section[i]].baseline;
  }
  /** How many times as fast as the baseline, [low, mid, high]; null where that was not measured. */
  function speedup(i) {
    if (!measured(i)) return null;
    const base = baselineOf(i);
    if (cases.backend[i] === base) return [1, 1, 1];
    if (base === sections[cases.section[i]].baseline) {
      const ratio = cases.ratio[i];
      if (!ratio) return null;
      const low = cases.ratio_low[i];
      const high = cases.ratio_high[i];
      return [high ? 1 / high : 0, 1 / ratio, low ? 1 / low : Infinity];
    }
    const other = byWork.get(cases.work[i]).find((j) => cases.backend[j] === base && measured(j));
    if (other === undefined) return null;
    return ratioOfTimes(other, i);
  }
  /** How many times as fast the second is as the first, from the two intervals. */
  function ratioOfTimes(first, second) {
    const t = (key, i) => cases[key][i] ?? Infinity;
    return [
      t("time_low_s", first) / t("time_high_s", second),
      t("time_s", first) / t("time_s", second),
      t("time_high_s", first) / t("time_low_s", second),
    ];
  }
  const ownRatios = (i) => baselineOf(i) === sections[cases.section[i]].baseline;
  const baseName = (i) => words.backend[baselineOf(i)] ?? "the baseline";

  /** One line for a case, for pointing at it. */
  function hover(i, ...more) {
    const quick = speedup(i);
    return [
      plain(word("backend", i)),
      plain(workOf(i)),
      plain(`${word("mode", i)} on ${word("device", i)}, ${word("dtype", i)}`),
      measured(i) ? `${seconds(cases.time_s[i])} a step (${range(seconds, cases.time_low_s[i], cases.time_high_s[i])})` : "",
      quick ? `${times(quick[1])} as fast as ${plain(baseName(i), 40)}` : "",
      invalid(i) ? "INVALID" : doubtful(i) ? "doubtful time" : "",
      ...more,
    ].filter(Boolean).join("<br>");
  }

  // ---- tables

  /** A table of plain strings; what is longer than `most` is said to be. */
  function table(caption, headings, rows, most = 200) {
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    const made = document.createElement("table");
    made.createCaption().textContent = rows.length > most ? `${caption} (the first ${most} of ${rows.length})` : caption;
    const head = made.createTHead().insertRow();
    for (const text of headings) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = text;
      head.append(cell);
    }
    const body = made.createTBody();
    for (const row of rows.slice(0, most)) {
      const line = body.insertRow();
      for (const [place, text] of row.entries()) {
        const cell = document.createElement(place ? "td" : "th");
        if (!place) cell.scope = "row";
        cell.textContent = text;
        if (text.length > 60) cell.className = "long";
        else if (text.length > 24) cell.className = "words";
        const kind = { FASTER: "good", SLOWER: "bad", INVALID: "bad", UNCLEAR: "doubt" }[text];
        if (kind) cell.className = kind;
        line.append(cell);
      }
    }
    scroll.append(made);
    return scroll;
  }

  // ---- views: a heading, what it says in words, a plot, and the table behind the plot

  const views = [];
  const PLOT = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  /**
   * make() gives {says, traces, layout, headings, rows}; without traces only the words are shown.
   * legend: the cases whose backends' marks are explained beside the plot.
   */
  function view(id, make) {
    const root = $(id);
    const says = document.createElement("p");
    says.className = "says";
    const plot = document.createElement("div");
    plot.className = "plot";
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", root.querySelector("h3").textContent);
    const behind = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "The table behind the plot";
    const holder = document.createElement("div");
    behind.append(summary, holder);
    const legend = document.createElement("p");
    legend.className = "legend";
    root.append(says, legend, plot, behind);
    const made = { root, stale: true, near: false, found: null };
    made.fill = () => {
      if (!behind.open || !made.found) return;
      const title = root.querySelector("h3").textContent;
      holder.replaceChildren(table(title, made.found.headings, made.found.rows));
    };
    made.draw = (width) => {
      made.stale = false;
      const found = make();
      made.found = found;
      says.textContent = found.says;
      plot.hidden = behind.hidden = legend.hidden = !found.traces;
      if (!found.traces) {
        root.setAttribute("aria-busy", "false");
        return;
      }
      plot.setAttribute("aria-label", `${root.querySelector("h3").textContent}. ${found.says}`);
      const shown = [...new Set((found.legend ?? []).map((i) => cases.backend[i]))].sort((a, b) => a - b);
      legend.replaceChildren(...shown.map((number) => {
        const entry = document.createElement("span");
        entry.append(swatch(number), words.backend[number]);
        return entry;
      }));
      made.fill();
      if (window.Plotly) {
        Plotly.react(plot, found.traces, layout(found.layout, width), PLOT);
        root.setAttribute("aria-busy", "false");
      } else plot.style.minHeight = `${found.layout.height}px`;
    };
    behind.addEventListener("toggle", made.fill);
    views.push(made);
  }

  /** Plotly comes as text and is run once the page stands: it is large, and the answers need not wait. */
  function loadPlotly() {
    if (window.Plotly) return;
    const script = document.createElement("script");
    // The page's policy knows this very text by its hash, and lets no other run.
    script.textContent = $("plotly").textContent;
    document.body.append(script);
    redraw();
    performance.mark("plots drawn");
  }

  function layout(own, width) {
    const axis = { gridcolor: tone("grid"), linecolor: tone("edge"), zeroline: false, automargin: true, fixedrange: false };
    const merged = {
      font: { family: "system-ui, sans-serif", size: 13, color: tone("text") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 60, r: 16, t: 12, b: 48 },
      height: 420,
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { align: "left", bgcolor: tone("back"), bordercolor: tone("edge"), font: { color: tone("text") } },
      // A finger that drags scrolls the page; a mouse zooms.
      dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
      ...own,
      autosize: !width,
      xaxis: { ...axis, ...own.xaxis },
      yaxis: { ...axis, ...own.yaxis },
    };
    if (width) merged.width = width;
    return merged;
  }

  /** Ticks at 1, 2 and 5 between two numbers, few enough to be read, in words of their own. */
  function ticks(low, high, format, most = 9) {
    const marks = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)) + 1; power++)
      for (const digit of [1, 2, 5]) marks.push(digit * 10 ** power);
    let inside = marks.filter((v) => v >= low / 1.001 && v <= high * 1.001);
    if (inside.length > most) inside = inside.filter((v) => /^1(e|0*$)|^0\.0*1$|e/.test(String(Number(v.toPrecision(1)))));
    while (inside.length > most) inside = inside.filter((_, place) => place % 2 === 0);
    return { tickvals: inside, ticktext: inside.map(format) };
  }
  /** A logarithmic axis over these values. */
  function logarithmic(found, format, pad = 1.25) {
    const values = found.filter((v) => v > 0 && Number.isFinite(v));
    if (!values.length) return { type: "log" };
    let low = Infinity;
    let high = 0;
    for (const v of values) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    low /= pad;
    high *= pad;
    if (high / low < 4) {
      const middle = Math.sqrt(low * high);
      [low, high] = [middle / 2, middle * 2];
    }
    return { type: "log", range: [Math.log10(low), Math.log10(high)], minallowed: null, ...ticks(low, high, format) };
  }

  // ---- the shape in question

  const ranked = () => inFocus().filter(measured).sort((a, b) => cases.time_s[a] - cases.time_s[b]);
  function inFocus() {
    return (byWork.get(state.work) ?? []).filter((i) => state.backends.has(cases.backend[i]) && !(state.valid && invalid(i)));
  }
  const WANTED = ["batch", "timesteps", "hidden_size"];

  /** The works that the filters leave; a work is there if any of its cases is. */
  function works(chosen) {
    return [...new Set(chosen.filter(measured).map((i) => cases.work[i]))];
  }
  /** How far a work is from what is wanted: by factors, and plainer first. */
  function distance(work, want) {
    const i = byWork.get(work)[0];
    let far = 0;
    for (const key of WANTED) far += Math.abs(Math.log(cases[key][i] / want[key]));
    far += 0.02 * Math.abs(Math.log(cases.input_size[i] / cases.hidden_size[i]));
    return far + 0.05 * (cases.num_layers[i] - 1 + cases.bidirectional[i] + (cases.min_length[i] != null) + (cases.window[i] != null));
  }

  function updateShape(chosen) {
    const left = works(chosen);
    if (state.want && left.length) {
      state.work = left.reduce((a, b) => (distance(b, state.want) < distance(a, state.want) ? b : a));
    } else if (!left.includes(state.work)) {
      state.work = left[0] ?? null;
    }
    const select = $("work");
    const context = (work) => {
      const i = byWork.get(work)[0];
      const more = ["section", "device", "mode", "dtype"].filter((key) => state.filters[key] == null && values(key).length > 1);
      return more.map((key) => (key === "section" ? sections[cases.section[i]].title : word(key, i)));
    };
    select.replaceChildren();
    for (const work of left) option(select, work, [words.work[work], ...context(work)].join(", "));
    if (state.work == null) return;
    select.value = String(state.work);
    const i = byWork.get(state.work)[0];
    for (const key of WANTED) $(`want-${key}`).value = state.want ? state.want[key] : cases[key][i];
  }

  function paragraph(text, kind = "") {
    const made = document.createElement("p");
    made.textContent = text;
    made.className = kind;
    return made;
  }

  function answer() {
    const told = [];
    const order = ranked();
    if (state.work == null || !order.length) {
      told.push(paragraph("Nothing that is chosen was measured. Choose more backends or other cases, or start again.", "main"));
      $("answer").replaceChildren(...told);
      return;
    }
    const [first, second] = order;
    if (state.want && WANTED.some((key) => cases[key][first] !== state.want[key])) {
      const want = `batch ${state.want.batch} × ${state.want.timesteps} steps with ${state.want.hidden_size} units`;
      told.push(paragraph(`No result for ${want}. The nearest that was measured is below; a shape of your own can be measured with a suite file (see the documentation of bench.run).`, "doubt"));
    }
    const where = `${workOf(first).replace(/^b/, "B")}; ${word("mode", first)} on ${word("device", first)}, ${word("dtype", first)}`;
    const main = paragraph("", "main");
    const strong = document.createElement("strong");
    strong.textContent = word("backend", first);
    main.append(`${where}: use `, strong, `, ${seconds(cases.time_s[first])} a step${bounds(first)}.`);
    told.push(main);
    const base = baselineOf(first);
    const gain = speedup(first);
    if (gain && cases.backend[first] !== base) {
      const sure = ownRatios(first) ? word("verdict", first) : "from the two intervals, paired less well than the report's own";
      told.push(paragraph(`What you gain: ${times(gain[1])} as fast as ${words.backend[base]} (${range(times, gain[0], gain[2])}; ${sure}).`));
    } else if (cases.backend[first] === base) {
      told.push(paragraph(`It is the baseline itself, ${words.backend[base]}: no other that is chosen is faster.`));
    } else {
      told.push(paragraph(`${words.backend[base] ?? "The baseline"} was not measured here, so there is no gain to tell.`));
    }
    told.push(paragraph(sureness(first, second)));
    for (const [i, quick] of elsewhere(first))
      told.push(paragraph(`On ${word("device", i)}: ${word("backend", i)}, ${seconds(cases.time_s[i])} a step${bounds(i)}, ${times(quick[1])} as fast (from the two intervals, ${range(times, quick[0], quick[2])})${invalid(i) || invalid(first) ? "; do not rely on it, INVALID" : ""}.`));
    if (invalid(first)) told.push(paragraph(`Do not rely on it: INVALID. ${word("invalid_reasons", first) || word("ratio_reasons", first)}`, "bad"));
    else if (doubtful(first)) told.push(paragraph(`Its time is doubtful, ratios are judged apart: ${word("time_reasons", first)}`, "doubt"));
    $("answer").replaceChildren(...told);
  }
  /** The same work on the other devices of its session: the fastest that is chosen, and how many times as fast. */
  function elsewhere(i) {
    const best = new Map();
    for (const work of byShape.get(shapeKey(i))) {
      for (const j of byWork.get(work)) {
        const device = cases.device[j];
        if (device === cases.device[i] || !measured(j) || !state.backends.has(cases.backend[j]) || (state.valid && invalid(j))) continue;
        if (!best.has(device) || cases.time_s[j] < cases.time_s[best.get(device)]) best.set(device, j);
      }
    }
    return [...best.values()].map((j) => [j, ratioOfTimes(i, j)]);
  }
  function bounds(i) {
    const found = range(seconds, cases.time_low_s[i], cases.time_high_s[i]);
    return found && ` (${found})`;
  }
  function sureness(first, second) {
    const from = `from ${many(cases.processes[first], "process")}`;
    if (second === undefined) return `How sure: no other backend that is chosen was measured here (${from}).`;
    const next = `${word("backend", second)}, ${digits(cases.time_s[second] / cases.time_s[first])} times its time`;
    if (cases.rank[first] === 1 && cases.rank[second] === 2) {
      const verdict = word("ahead", first);
      if (flag("fastest", first)) return `How sure: FASTER than each of the others, judged together; the next is ${next} (${from}).`;
      if (verdict === "SAME") return `How sure: as fast as the next, within 2%: ${next} (${from}).`;
      if (verdict === "FASTER") return `How sure: FASTER than the next, ${next}, but not than each of the others together${invalid(first) ? ", and INVALID" : ""} (${from}).`;
      return `How sure: the shortest median, no more; the next is ${next}${verdict ? ` (${verdict})` : ""} (${from}).`;
    }
    const apart = cases.time_high_s[first] < cases.time_low_s[second];
    return `How sure: ${apart ? "its interval lies below" : "its interval overlaps with"} that of the next, ${next} (${from}).`;
  }

  // ---- bars of the shape in question

  const MOST_BARS = 40;
  function barAxis(order, narrow) {
    return {
      tickvals: order.map((_, place) => place),
      ticktext: order.map((i) => plain(word("backend", i), narrow ? 16 : 40)),
      range: [order.length - 0.4, -0.6],
      gridcolor: "rgba(0,0,0,0)",
      fixedrange: true,
    };
  }
  const narrow = () => innerWidth < 640;
  const barHeight = (bars, more = 0) => 70 + more + 30 * bars;
  const forShape = (i) => `${workOf(i).replace(/^b/, "B")}; ${word("mode", i)} on ${word("device", i)}`;

  view("ranked", () => {
    const order = ranked();
    if (!order.length) return { says: "Nothing that is chosen has a time here." };
    const shown = order.slice(0, MOST_BARS);
    const highs = shown.map((i) => Math.min(cases.time_high_s[i] ?? cases.time_s[i], 4 * cases.time_s[i]));
    const top = highest(highs);
    return {
      says: `${forShape(order[0])}. Shortest: ${word("backend", order[0])}, ${seconds(cases.time_s[order[0]])}; longest of ${order.length}: ${word("backend", order[order.length - 1])}, ${seconds(cases.time_s[order[order.length - 1]])}. Lines are 95% intervals; what two backends share in a process cancels in their ratio, so that one can be FASTER where these overlap.`,
      traces: [{
        type: "bar", orientation: "h",
        x: shown.map((i) => cases.time_s[i]),
        y: shown.map((_, place) => place),
        marker: { color: shown.map((i) => colour(cases.backend[i])), pattern: { shape: shown.map((i) => (invalid(i) ? "/" : "")) } },
        error_x: {
          type: "data", symmetric: false, color: tone("text"), thickness: 1.5, width: 4,
          array: shown.map((i) => (cases.time_high_s[i] ?? cases.time_s[i]) - cases.time_s[i]),
          arrayminus: shown.map((i) => cases.time_s[i] - (cases.time_low_s[i] ?? cases.time_s[i])),
        },
        hovertext: shown.map((i) => hover(i)), hovertemplate: "%{hovertext}<extra></extra>", hoverinfo: "text",
      }],
      layout: {
        height: barHeight(shown.length), yaxis: barAxis(shown, narrow()),
        xaxis: { ...linear(top, seconds), range: [0, 1.05 * top] },
      },
      headings: ["backend", "time of a step", "95% interval", "sequences/s", "timesteps/s", "speed-up", ownRatios(order[0]) ? "99.5% interval" : "from both intervals", "verdict", "trust"],
      rows: order.map((i) => {
        const quick = speedup(i);
        return [word("backend", i), seconds(cases.time_s[i]), range(seconds, cases.time_low_s[i], cases.time_high_s[i]),
          rate(cases.sequences_per_s[i]), rate(cases.timesteps_per_s[i]), quick ? times(quick[1]) : "",
          quick ? range(times, quick[0], quick[2]) : "", ownRatios(i) ? word("verdict", i) : "", trusted(i)];
      }),
    };
  });

  /** A linear axis from nothing, its ticks in words. */
  function linear(top, format) {
    const most = narrow() ? 3 : 7;
    const power = 10 ** Math.floor(Math.log10(top / most));
    // Bytes are round in powers of 2.
    const step = format === bytes
      ? 2 ** Math.ceil(Math.log2(top / most))
      : power * ([1, 2, 5, 10].find((v) => top / (power * v) <= most) ?? 10);
    const at = [];
    for (let n = 0; n * step <= 1.05 * top; n++) at.push(Number((n * step).toPrecision(12)));
    return { tickvals: at, ticktext: at.map((v) => (v ? format(v) : "0")) };
  }

  view("first", () => {
    const order = ranked().filter((i) => cases.first_result_s[i] != null).slice(0, MOST_BARS);
    if (!order.length) return { says: "No time of building, tracing and compiling was recorded for what is chosen." };
    const parts = (i) => {
      const compile = Math.min(cases.compile_s[i] ?? 0, cases.first_call_s[i] ?? 0);
      return [cases.build_s[i] ?? 0, cases.trace_s[i] ?? 0, compile, Math.max(0, (cases.first_call_s[i] ?? 0) - compile)];
    };
    const names = ["build", "trace", "compile", "first step"];
    const tones = ["#9467bd", "#178c9c", "#c9622a", "#3a80c9"];
    const least = order.reduce((a, b) => (cases.first_result_s[b] < cases.first_result_s[a] ? b : a));
    const top = highest(order.map((i) => cases.first_result_s[i]));
    return {
      says: `${forShape(order[0])}. From nothing to the first result: building the model, tracing it, compiling it, one step in steady state. Soonest: ${word("backend", least)}, ${seconds(cases.first_result_s[least])}.`,
      traces: names.map((name, part) => ({
        type: "bar", orientation: "h", name,
        x: order.map((i) => parts(i)[part]), y: order.map((_, place) => place), marker: { color: tones[part] },
        hovertext: order.map((i) => `${plain(word("backend", i))}<br>${name}: ${seconds(parts(i)[part])}<br>in all: ${seconds(cases.first_result_s[i])}`),
        hovertemplate: "%{hovertext}<extra></extra>",
      })),
      layout: {
        barmode: "stack", height: barHeight(order.length, 30), yaxis: barAxis(order, narrow()), xaxis: linear(top, seconds),
        showlegend: true, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, traceorder: "normal" },
      },
      headings: ["backend", ...names, "first result", "steps until it has caught up with the soonest"],
      rows: order.map((i) => [word("backend", i), ...parts(i).map(seconds), seconds(cases.first_result_s[i]), catchUp(i, least)]),
    };
  });
  /** After how many steps the slower start is made up for. */
  function catchUp(i, soonest) {
    if (i === soonest) return "";
    const gain = cases.time_s[soonest] - cases.time_s[i];
    if (gain <= 0) return "never";
    return Math.ceil((cases.first_result_s[i] - cases.first_result_s[soonest]) / gain).toLocaleString("en");
  }

  view("memory", () => {
    const order = ranked().filter((i) => cases.peak_memory_bytes[i] != null).slice(0, MOST_BARS);
    if (!order.length) return { says: "No memory was recorded for what is chosen." };
    order.sort((a, b) => cases.peak_memory_bytes[a] - cases.peak_memory_bytes[b]);
    const top = Math.max(1, cases.peak_memory_bytes[order[order.length - 1]]);
    return {
      says: `${forShape(order[0])}. Peak beyond the loaded framework. Least: ${word("backend", order[0])}, ${bytes(cases.peak_memory_bytes[order[0]])}; most: ${word("backend", order[order.length - 1])}, ${bytes(top)}.`,
      traces: [{
        type: "bar", orientation: "h", x: order.map((i) => cases.peak_memory_bytes[i]), y: order.map((_, place) => place),
        marker: { color: order.map((i) => colour(cases.backend[i])) },
        hovertext: order.map((i) => hover(i, `peak memory ${bytes(cases.peak_memory_bytes[i])}`)),
        hovertemplate: "%{hovertext}<extra></extra>",
      }],
      layout: { height: barHeight(order.length), yaxis: barAxis(order, narrow()), xaxis: linear(top, bytes) },
      headings: ["backend", "peak memory", "energy of a step"],
      rows: order.map((i) => [word("backend", i), bytes(cases.peak_memory_bytes[i]), known((v) => `${digits(v)} J`)(cases.energy_j[i])]),
    };
  });

  // Beyond these a box alone says more than its points.
  const MOST_POINTS = 3000;
  view("samples", () => {
    const order = ranked();
    const select = $("sample-case");
    select.parentElement.hidden = order.length === 0;
    if (!order.length) return { says: "No sample of what is chosen." };
    const same = order.find((i) => cases.backend[i] === state.sample) ?? order[0];
    select.replaceChildren();
    for (const i of order) option(select, cases.backend[i], word("backend", i));
    select.value = String(cases.backend[same]);
    const processes = data.samples[same].map(([process, parts]) => [process, parts.map((part) => (part * cases.time_s[same]) / 1e4)]);
    const total = processes.reduce((sum, [, found]) => sum + found.length, 0);
    const sorted = processes.map(([, found]) => [...found].sort((a, b) => a - b));
    const at = (found, part) => found[Math.round(part * (found.length - 1))];
    const medians = sorted.map((found) => at(found, 0.5));
    const spread = highest(medians) / lowest(medians) - 1;
    const which = data.whole_samples ? "Every sample" : `${total} of ${cases.samples[same]} samples, evenly from the shortest to the longest of each process`;
    const low = lowest(sorted.map((found) => found[0]));
    const high = highest(sorted.map((found) => found[found.length - 1]));
    return {
      says: `${which} of ${word("backend", same)}. ${forShape(same)}: ${many(cases.samples[same], "sample")} in ${many(processes.length, "process")}` +
        (processes.length > 1 ? `, whose medians differ by up to ${percent(spread)}.` : "; one process cannot show how much processes differ."),
      traces: processes.map(([process, found], place) => ({
        type: "box", name: `process ${process}`, x0: place, y: found, width: 0.6, whiskerwidth: 0.4,
        boxpoints: total > MOST_POINTS ? "outliers" : "all", jitter: 0.7, pointpos: 0, fillcolor: "rgba(0,0,0,0)",
        marker: { color: colour(cases.backend[same]), size: 5, opacity: 0.55 }, line: { color: tone("text"), width: 1.5 },
        hovertext: found.map((v) => `process ${process}: ${seconds(v)}`), hoveron: total > MOST_POINTS ? "boxes+points" : "points", hovertemplate: "%{hovertext}<extra></extra>",
      })),
      layout: {
        height: 380,
        xaxis: { tickvals: processes.map((_, p) => p), ticktext: processes.map(([n]) => (processes.length > 6 ? String(n) : `process ${n}`)), range: [-0.6, processes.length - 0.4], title: processes.length > 6 ? { text: "process" } : undefined },
        yaxis: spanning(low, high, seconds),
      },
      headings: ["process", "samples shown", "shortest", "lower quartile", "median", "upper quartile", "longest"],
      rows: processes.map(([process], place) => [String(process), String(sorted[place].length), ...[0, 0.25, 0.5, 0.75, 1].map((part) => seconds(at(sorted[place], part)))]),
    };
  });
  /** A linear axis just around these bounds. */
  function spanning(low, high, format) {
    const pad = 0.08 * (high - low) || 0.05 * high;
    const [from, to] = [Math.max(0, low - pad), high + pad];
    const rough = (to - from) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((v) => v * power).find((v) => v >= rough);
    const at = [];
    for (let v = Math.ceil(from / step) * step; v <= to; v += step) at.push(Number(v.toPrecision(12)));
    const [size, unit] = [[1, " s"], [1e-3, " ms"], [1e-6, " µs"], [1e-9, " ns"]].find(([each]) => to >= each) ?? [1e-9, " ns"];
    const exact = (v) => `${Number((v / size).toPrecision(5))}${unit}`;
    return { range: [from, to], tickvals: at, ticktext: at.map(format === seconds ? exact : format) };
  }

  // ---- across shapes

  const plainOf = (key) => (i) => {
    const value = cases[key][i];
    return value == null ? null : [value, value, value];
  };
  /** From a time's interval to a rate's. */
  const perTime = (key) => (i) => {
    const value = cases[key][i];
    if (value == null) return null;
    const amount = value * cases.time_s[i];
    return [amount / (cases.time_high_s[i] ?? Infinity), value, cases.time_low_s[i] ? amount / cases.time_low_s[i] : value];
  };
  const UP = {
    sequences: ["Throughput: sequences per second", rate, perTime("sequences_per_s"), true],
    timesteps: ["Throughput: timesteps per second", rate, perTime("timesteps_per_s"), true],
    time: ["Time of a step", seconds, (i) => (measured(i) ? [cases.time_low_s[i] ?? 0, cases.time_s[i], cases.time_high_s[i] ?? Infinity] : null), false],
    speedup: ["Speed-up over the baseline", times, speedup, true],
    first: ["Time to the first result", seconds, plainOf("first_result_s"), false],
    memory: ["Peak memory", bytes, plainOf("peak_memory_bytes"), false],
    energy: ["Energy of a step", known((v) => `${digits(v)} J`), plainOf("energy_j"), false],
  };
  const ACROSS = { shape: "shape", batch: "batch", hidden_size: "hidden size", timesteps: "timesteps", window: "window" };
  const AXES = ["section", "device", "mode", "dtype", "batch", "timesteps", "window", "input_size", "hidden_size", "num_layers", "bidirectional", "min_length", "batch_major"];
  // More marks than this are neither quick nor a picture.
  const MOST_MARKS = 1500;
  const MOST_SHAPES = 40;

  /** Everything that a case shares with those it is joined to by a line along an axis. */
  function seriesKey(i, across) {
    // Shapes mostly have as many features as units: along the one, the other goes with it.
    const square = across === "hidden_size" && cases.input_size[i] === cases.hidden_size[i];
    return AXES.filter((key) => key !== across).map((key) => (square && key === "input_size" ? "=" : cases[key][i])).join(" ");
  }
  /** What kinds of lines tell apart: devices and modes, where more than one is chosen. */
  const lineOf = (i) => `${word("mode", i)} on ${word("device", i)}`;
  const lineKinds = (chosen) => [...new Set(chosen.map(lineOf))].sort();
  const lineNote = (kinds) =>
    kinds.length < 2 ? "" : ` Lines: ${kinds.map((kind, n) => `${kind} ${["solid", "dashed", "dotted", "dash-dotted"][n % DASHES.length]}`).join(", ")}.`;
  /** A mark for each case, joined where only what goes across differs; backends told by colour. */
  function marks(chosen, across, valueOf, lines = lineKinds(chosen)) {
    const series = new Map();
    const shapes = across === "shape" ? works(chosen) : [];
    const position = new Map(shapes.map((work, place) => [work, place]));
    const x = (i) => (across === "shape" ? position.get(cases.work[i]) : cases[across][i]);
    for (const i of chosen) {
      if (x(i) == null || !valueOf(i)) continue;
      const key = `${cases.backend[i]} ${across === "shape" ? "" : seriesKey(i, across)}`;
      if (!series.has(key)) series.set(key, []);
      series.get(key).push(i);
    }
    const traces = [];
    for (const found of series.values()) {
      found.sort((a, b) => x(a) - x(b));
      const b = cases.backend[found[0]];
      const finite = (v, mid) => (Number.isFinite(v) && v > 0 ? Math.abs(v - mid) : 0);
      const three = found.map(valueOf);
      traces.push({
        type: "scatter", mode: across === "shape" || found.length < 2 ? "markers" : "lines+markers",
        x: found.map(x), y: three.map((v) => v[1]),
        error_y: { type: "data", symmetric: false, thickness: 1, width: 3, array: three.map((v) => finite(v[2], v[1])), arrayminus: three.map((v) => finite(v[0], v[1])) },
        line: { color: colour(b), width: 2, dash: DASHES[lines.indexOf(lineOf(found[0])) % DASHES.length] },
        marker: { color: colour(b), size: 9, symbol: found.map((i) => SYMBOLS[place(b)] + (invalid(i) ? "-open" : "")) },
        hovertext: found.map((i) => hover(i)), hovertemplate: "%{hovertext}<extra></extra>",
      });
    }
    // At one place each backend stands a little aside, so that they do not hide each other.
    const used = [...new Set(chosen.map((i) => cases.backend[i]))].sort((a, b) => a - b);
    const bySeries = [...series.values()];
    for (const [n, trace] of traces.entries()) {
      const aside = used.length > 1 ? used.indexOf(cases.backend[bySeries[n][0]]) / (used.length - 1) - 0.5 : 0;
      trace.x = trace.x.map((v) => (across === "shape" ? v + 0.6 * aside : v * 1.06 ** aside));
    }
    return { traces, shapes };
  }

  function acrossAxis(across, chosen, shapes) {
    if (across === "shape")
      return { tickvals: shapes.map((_, n) => n), ticktext: shapes.map((w) => narrow() ? plain(words.shape[w], 26) : plain(words.work[w], 46)), tickangle: shapes.length > 2 || narrow() ? -35 : 0, range: [-0.6, shapes.length - 0.4] };
    let at = [...new Set(chosen.map((i) => cases[across][i]))].filter((v) => v != null).sort((a, b) => a - b);
    const axis = logarithmic(at, (v) => v.toLocaleString("en"), 1.15);
    while (at.length > (narrow() ? 6 : 14)) at = at.filter((_, n) => n % 2 === 0);
    return { ...axis, tickvals: at, ticktext: at.map((v) => v.toLocaleString("en")), title: { text: ACROSS[across] } };
  }

  view("across", () => {
    const across = $("x-axis").value;
    const [title, format, valueOf, moreIsBetter] = UP[$("y-axis").value];
    $("across-title").textContent = `${title}${across === "shape" ? ", shape by shape" : ` against ${ACROSS[across]}`}`;
    let chosen = pick().filter(measured);
    const focus = byWork.get(state.work)?.[0];
    const mine = $("family").value === "mine" && focus !== undefined && across !== "shape";
    if (mine) {
      const key = seriesKey(focus, across);
      chosen = chosen.filter((i) => seriesKey(i, across) === key);
    }
    chosen = chosen.filter((i) => valueOf(i) && (across === "shape" || cases[across][i] != null));
    if (!chosen.length) return { says: `No ${title.toLowerCase()} was recorded for what is chosen.` };
    const every = chosen;
    let note = mine ? " Only shapes that are as yours but for what goes across." : "";
    const lines = lineKinds(chosen);
    if (across !== "shape") note += lineNote(lines);
    if (across === "shape") {
      const kept = new Set(works(chosen).slice(0, MOST_SHAPES));
      chosen = chosen.filter((i) => kept.has(cases.work[i]));
    }
    chosen = chosen.slice(0, MOST_MARKS);
    if (chosen.length < every.length) note += ` Drawn are the first ${chosen.length.toLocaleString("en")} of ${many(every.length, "case")}: choose fewer.`;
    const { traces, shapes } = marks(chosen, across, valueOf, lines);
    const best = every.reduce((a, b) => (moreIsBetter === valueOf(b)[1] > valueOf(a)[1] ? b : a));
    const rough = $("y-axis").value === "speedup" && chosen.some((i) => !ownRatios(i));
    return {
      says: `${many(every.length, "case")} of ${many(new Set(every.map((i) => cases.backend[i])).size, "backend")}. ${moreIsBetter ? "Highest" : "Lowest"}: ${word("backend", best)}, ${format(valueOf(best)[1])} at ${workOf(best)} (${word("mode", best)}). Hollow marks are INVALID.${note}` +
        (rough ? " Intervals here are made of the two times' own and are wide; --baseline gives those of the paired comparison." : ""),
      traces, legend: chosen,
      layout: {
        height: 460, xaxis: acrossAxis(across, chosen, shapes),
        yaxis: logarithmic(chosen.flatMap((i) => valueOf(i)).concat($("y-axis").value === "speedup" ? [1] : []), format),
        shapes: $("y-axis").value === "speedup" ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: tone("edge"), dash: "dot", width: 1.5 } }] : [],
      },
      headings: ["backend", "shape", "mode", "device", title, $("y-axis").value === "speedup" ? (rough ? "interval" : "99.5% interval") : "95% interval", "trust"],
      rows: every.map((i) => [word("backend", i), workOf(i), word("mode", i), word("device", i), format(valueOf(i)[1]), valueOf(i)[0] === valueOf(i)[1] ? "" : range(format, valueOf(i)[0], valueOf(i)[2]), trusted(i)]),
    };
  });

  view("windows", () => {
    const kind = words.kind.indexOf("truncation");
    const chosen = pick(DIMENSIONS.map(([key]) => key).filter((key) => !["kind", "mode", ...WANTED, "input_size"].includes(key)))
      .filter((i) => cases.kind[i] === kind && measured(i)).slice(0, MOST_MARKS);
    if (!chosen.length) return { says: "No case that is chosen was cut into windows." };
    const valueOf = (i) => {
      const steps = cases.timesteps[i];
      return [(cases.time_low_s[i] ?? 0) / steps, cases.time_s[i] / steps, (cases.time_high_s[i] ?? Infinity) / steps];
    };
    const { traces } = marks(chosen, "window", valueOf);
    const best = chosen.reduce((a, b) => (valueOf(b)[1] < valueOf(a)[1] ? b : a));
    return {
      says: `Time of one timestep of the whole batch in training, against the length of the windows that the sequence is cut into (whatever kind, mode and size are chosen above). Lowest: ${word("backend", best)}, ${seconds(valueOf(best)[1])} in windows of ${cases.window[best]}.${lineNote(lineKinds(chosen))}`,
      traces, legend: chosen,
      layout: { height: 420, xaxis: acrossAxis("window", chosen, []), yaxis: logarithmic(chosen.flatMap((i) => valueOf(i)), seconds) },
      headings: ["backend", "shape", "device", "window", "time per timestep", "95% interval", "trust"],
      rows: chosen.map((i) => [word("backend", i), workOf(i), word("device", i), String(cases.window[i]), seconds(valueOf(i)[1]), range(seconds, valueOf(i)[0], valueOf(i)[2]), trusted(i)]),
    };
  });

  view("roofline", () => {
    const every = pick().filter((i) => measured(i) && cases.operations[i] > 0 && cases.bytes_moved[i] > 0);
    if (!every.length) return { says: "The roofs (rate of matrix products, bandwidth) were not measured for what is chosen." };
    const chosen = every.slice(0, MOST_MARKS);
    const x = (i) => cases.operations[i] / cases.bytes_moved[i];
    const y = (i) => cases.operations[i] / cases.time_s[i];
    const xs = chosen.map(x);
    const [from, to] = [lowest(xs) / 4, 4 * highest(xs)];
    const roofs = new Map();
    for (const i of chosen)
      if (cases.matmul_per_s[i] || cases.bandwidth_per_s[i]) {
        const key = `${word("device", i)}, ${word("dtype", i)}`;
        if (!roofs.has(key)) roofs.set(key, []);
        roofs.get(key).push(i);
      }
    // The highest that any case showed; without one of the two roofs the other stands alone.
    const most = (found, key) => found.reduce((a, i) => Math.max(a, cases[key][i] ?? 0), 0) || Infinity;
    const lines = [...roofs].slice(0, 6).map(([key, found], n) => {
      const [matmul, bandwidth] = [most(found, "matmul_per_s"), most(found, "bandwidth_per_s")];
      const ridge = Math.min(Math.max(matmul / bandwidth || from, from), to);
      const at = [from, ridge, to];
      return {
        type: "scatter", mode: "lines", x: at, y: at.map((v) => Math.min(v * bandwidth, matmul)),
        line: { color: tone("text"), width: 2, dash: DASHES[n % DASHES.length] },
        hovertext: at.map(() => [`roof of ${plain(key)}`, Number.isFinite(matmul) ? `matrix products ${rate(matmul)} operations/s` : "", Number.isFinite(bandwidth) ? `bandwidth ${bytes(bandwidth)}/s` : ""].filter(Boolean).join("<br>")),
        hovertemplate: "%{hovertext}<extra></extra>",
      };
    });
    const chained = chosen.filter((i) => cases.of_chain_roof[i] > 0);
    const reach = (i) => Math.max(cases.of_matmul_roof[i] ?? 0, cases.of_bandwidth_roof[i] ?? 0, cases.of_chain_roof[i] ?? 0);
    const best = every.reduce((a, b) => (reach(b) > reach(a) ? b : a));
    const of = (i) => ["matmul", "bandwidth", "chain"].filter((r) => cases[`of_${r}_roof`][i] != null)
      .map((r) => `${percent(cases[`of_${r}_roof`][i])} of the ${{ matmul: "matrix products", bandwidth: "bandwidth", chain: "chain of steps" }[r]} roof`);
    return {
      says: `Operations per second against operations per byte; the line is the most that the device can do (bandwidth, then matrix products); a dash is as far as the chain of steps, each after the other, lets that case go. Nearest to a roof: ${word("backend", best)}, ${workOf(best)} (${word("mode", best)})${of(best).length ? `: ${of(best).join(", ")}` : ""}.`,
      legend: chosen,
      traces: [...lines, {
        type: "scatter", mode: "markers", x: chained.map(x), y: chained.map((i) => y(i) / cases.of_chain_roof[i]),
        marker: { symbol: "line-ew-open", size: 11, color: tone("edge"), line: { width: 2 } }, hoverinfo: "skip",
      }, {
        type: "scatter", mode: "markers", x: xs, y: chosen.map(y),
        marker: { size: 9, color: chosen.map((i) => colour(cases.backend[i])), symbol: chosen.map((i) => SYMBOLS[place(cases.backend[i])] + (invalid(i) ? "-open" : "")) },
        hovertext: chosen.map((i) => hover(i, ...of(i))), hovertemplate: "%{hovertext}<extra></extra>",
      }],
      layout: {
        height: 460,
        xaxis: { ...logarithmic([from, to], digits, 1), title: { text: "operations per byte" } },
        yaxis: { ...logarithmic([...chosen.map(y), ...chained.map((i) => y(i) / cases.of_chain_roof[i]), ...lines.flatMap((l) => l.y)], rate), title: { text: narrow() ? "" : "operations per second" } },
      },
      headings: ["backend", "shape", "mode", "device", "operations/byte", "operations/s", "of matrix products", "of bandwidth", "of the chain"],
      rows: every.map((i) => [word("backend", i), workOf(i), word("mode", i), word("device", i), digits(x(i)), rate(y(i)), percent(cases.of_matmul_roof[i]), percent(cases.of_bandwidth_roof[i]), percent(cases.of_chain_roof[i])]),
    };
  });

  // ---- every case

  const PAGE = 50;
  function showCases(chosen) {
    const wanted = { all: () => true, measured, invalid, without: (i) => !measured(i) }[$("outcome").value];
    const found = chosen.filter(wanted);
    const number = (value) => value ?? Infinity;
    const gains = new Map();
    if ($("sort").value === "speed") for (const i of found) gains.set(i, speedup(i)?.[1] ?? 0);
    const order = {
      report: null,
      time: (a, b) => number(cases.time_s[a]) - number(cases.time_s[b]),
      speed: (a, b) => gains.get(b) - gains.get(a),
      backend: (a, b) => word("backend", a).localeCompare(word("backend", b)),
    }[$("sort").value];
    if (order) found.sort(order);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const from = state.page * PAGE;
    const rows = found.slice(from, from + PAGE).map((i) => {
      const quick = speedup(i);
      return [word("backend", i), workOf(i), `${word("mode", i)} on ${word("device", i)}`, seconds(cases.time_s[i]),
        range(seconds, cases.time_low_s[i], cases.time_high_s[i]), rate(cases.sequences_per_s[i]), quick ? times(quick[1]) : "", trusted(i),
        [word("invalid_reasons", i) || word("ratio_reasons", i), doubtful(i) ? word("time_reasons", i) : "", word("reason", i), word("advice", i)].filter(Boolean).join(" · ")];
    });
    const caption = `${many(found.length, "case")}${found.length ? `: ${from + 1} to ${from + rows.length}` : ""}`;
    $("cases").replaceChildren(table(caption, ["backend", "shape", "what", "time of a step", "95% interval", "sequences/s", "speed-up", "trust", "why, and what to do"], rows));
    $("page-of").textContent = `Page ${state.page + 1} of ${pages}`;
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page >= pages - 1;
  }
  function turn(by) {
    state.page += by;
    showCases(pick());
  }

  // ---- all of it

  function summary(chosen) {
    const times = chosen.filter(measured).length;
    const left = data.left_out ? ` ${data.left_out.toLocaleString("en")} more did not fit into the page: write it with --device or --kind.` : "";
    return `Chosen: ${chosen.length.toLocaleString("en")} of ${many(count, "case")}, ${times.toLocaleString("en")} with a time, ${chosen.filter(invalid).length.toLocaleString("en")} INVALID; ${many(new Set(chosen.map((i) => cases.backend[i])).size, "backend")}, ${many(works(chosen).length, "shape")}.${left}`;
  }
  function update() {
    const chosen = pick();
    $("shown").textContent = summary(chosen);
    updateShape(chosen);
    answer();
    state.page = 0;
    showCases(chosen);
    redraw();
  }
  function redraw() {
    for (const each of views) {
      each.stale = true;
      each.root.setAttribute("aria-busy", "true");
      if (each.near) each.draw();
    }
  }

  function makeAxes() {
    for (const [key, [title]] of Object.entries(UP)) option($("y-axis"), key, title);
    for (const [key, label] of Object.entries(ACROSS)) option($("x-axis"), key, label);
  }
  function startAxes() {
    // What goes across at first: what most series have more than one value of.
    const lengths = (across) => {
      const found = new Map();
      for (const i of pick().filter(measured).slice(0, MOST_MARKS)) {
        const key = `${cases.backend[i]} ${seriesKey(i, across)}`;
        found.set(key, (found.get(key) ?? 0) + (cases[across][i] != null));
      }
      return highest([0, ...found.values()]);
    };
    const dimension = ["batch", "hidden_size", "timesteps"].map((key) => [lengths(key), key]).sort((a, b) => b[0] - a[0])[0];
    $("x-axis").value = dimension[0] > 1 ? dimension[1] : "shape";
    $("family").value = pick().length > 60 ? "mine" : "all";
    $("y-axis").value = "sequences";
  }

  function wire() {
    for (const id of ["x-axis", "y-axis", "family"]) $(id).addEventListener("change", redraw);
    $("sample-case").addEventListener("change", (event) => {
      state.sample = Number(event.target.value);
      redraw();
    });
    $("work").addEventListener("change", (event) => {
      state.want = null;
      state.work = Number(event.target.value);
      update();
    });
    for (const key of WANTED)
      $(`want-${key}`).addEventListener("change", () => {
        const typed = Object.fromEntries(WANTED.map((each) => [each, Math.floor(Number($(`want-${each}`).value))]));
        if (WANTED.every((each) => typed[each] >= 1)) state.want = typed;
        update();
      });
    for (const id of ["outcome", "sort"]) $(id).addEventListener("change", () => { state.page = 0; showCases(pick()); });
    $("previous").addEventListener("click", () => turn(-1));
    $("next").addEventListener("click", () => turn(1));

    // A plot is drawn when it comes near: a phone need not draw what nobody has scrolled to.
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const found = views.find((each) => each.root === entry.target);
        found.near = entry.isIntersecting;
        if (found.near && found.stale) found.draw();
      }
    }, { rootMargin: "300px" });
    for (const each of views) near.observe(each.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    // On paper all plots, in the width of a page; the style makes the colours those of light.
    addEventListener("beforeprint", () => {
      // On paper nothing can be opened: reasons stand there. The tables behind plots are left out.
      const folded = [...document.querySelectorAll("main details:not([open])")].filter((one) => !one.closest(".view"));
      for (const one of folded) one.open = true;
      addEventListener("afterprint", () => { for (const one of folded) one.open = false; }, { once: true });
      loadPlotly();
      for (const each of views) each.draw(680);
    });
    addEventListener("afterprint", redraw);
  }

  makeFilters();
  makeAxes();
  start();
  wire();
  $("explorer").hidden = false;
  update();
  performance.mark("page usable");
  // After the first picture of the page, whatever else goes on.
  requestAnimationFrame(() => setTimeout(loadPlotly, 0));
})();
