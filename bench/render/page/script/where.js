// Pictures over many shapes: who is fastest where, windows, the roofs, and how it scales.

// ---- which is fastest where: shapes by backends, as a table whose cells have colours

const MOST_SHAPES = 40;
// How many times as fast has the strongest colour.
const STRONGEST = Math.log(4);

function showWhere(chosen) {
  const timed = chosen.filter(measured);
  const root = $("where");
  if (!timed.length) {
    root.replaceChildren(made("p", hiding(measured) || "Nothing was measured.", { kind: "says" }));
    return;
  }
  const found = worksOf(timed);
  const shown = state.everywhere ? found : found.slice(0, MOST_SHAPES);
  const gain = new Map();
  for (const i of timed) {
    const quick = speedup(i);
    if (!gain.has(cases.backend[i])) gain.set(cases.backend[i], []);
    if (quick && quick[1] > 0) gain.get(cases.backend[i]).push(Math.log(quick[1]));
  }
  const mean = (logs) => (logs.length ? logs.reduce((a, b) => a + b, 0) / logs.length : -Infinity);
  const order = [...gain.keys()].sort((a, b) => mean(gain.get(b)) - mean(gain.get(a)));
  const built = made("table", "", { kind: "heat" });
  built.createCaption().textContent = `Times as fast as ${listed([...new Set(shown.map((work) => baseName(byWork[work][0])))])}`;
  const head = built.createTHead().insertRow();
  head.append(made("th", "shape", { scope: "col" }));
  for (const number of order) head.append(made("th", "", { scope: "col", children: [made("span", words.backend[number]), mark(number)] }));
  const kept = new Set(chosen);
  let section = null;
  let body = null;
  for (const work of shown) {
    const [first] = byWork[work];
    if (cases.section[first] !== section) {
      section = cases.section[first];
      body = built.createTBody();
      if (sections.length > 1) body.insertRow().append(made("th", sections[section].title, { scope: "rowgroup", colspan: String(order.length + 1) }));
    }
    const ask = made("button", capital(works.text[work]) + context(first), { type: "button", kind: "link", title: "Ask for this shape" });
    ask.addEventListener("click", () => askAbout(work));
    const line = body.insertRow();
    line.append(made("th", "", { scope: "row", children: [ask] }));
    const here = new Map(byWork[work].filter((i) => kept.has(i)).map((i) => [cases.backend[i], i]));
    for (const number of order) line.append(heatCell(here.get(number)));
  }
  const left = found.length - shown.length;
  const more = made("button", `Show ${many(left, "more shape")}`, { type: "button" });
  more.addEventListener("click", () => { state.everywhere = true; showWhere(pick()); });
  root.replaceChildren(
    made("p", `Above 1 is faster: the paired estimates of the report. ${data.marks}. Blue is FASTER than the baseline and orange SLOWER, by 99.5% intervals; without a colour it is SAME or UNCLEAR. A shape can be pressed: it is then the question above.`, { kind: "says" }),
    scrolling("Times as fast, by shape and backend", built), ...(left ? [more] : []),
  );
}
/** Of a shape what its words leave out, where the filters leave several of it. */
function context(i) {
  const more = ["device", "mode", "dtype"].filter((key) => state.filters[key] == null && values(key).length > 1).map((key) => word(key, i));
  return more.length ? `; ${more.join(", ")}` : "";
}
function heatCell(i) {
  if (i === undefined) return made("td", "");
  if (!measured(i)) return made("td", "–", { title: `${outcome(i)}: ${why(i)}`, kind: "dim" });
  if (invalid(i)) return made("td", "INVALID", { title: why(i), kind: "bad" });
  const quick = speedup(i);
  const best = cases.rank[i] !== 1 || ranked(cases.work[i]).length < 2 ? "" : cases.fastest[i] ? " ★" : " ☆";
  if (!quick) return made("td", seconds(cases.time_s[i]) + best, { title: `${baseName(i)} was not measured here` });
  const verdict = word("verdict", i);
  const cell = made("td", (isBaseline(i) ? "1" : ratio(quick[1])) + best, { title: isBaseline(i) ? `the baseline, ${seconds(cases.time_s[i])}` : `${seconds(cases.time_s[i])}; ${ratioRange(quick[0], quick[2])}, ${verdict}` });
  if (verdict === "FASTER" || verdict === "SLOWER") {
    const strength = Math.min(1, Math.abs(Math.log(quick[1])) / STRONGEST);
    cell.style.background = `rgb(${verdict === "FASTER" ? "42 150 212" : "213 94 0"} / ${Math.round(12 + 38 * strength)}%)`;
  }
  return cell;
}

// ---- across shapes

const plainOf = (key) => (i) => {
  const value = cases[key][i];
  return value == null ? null : [value, value, value];
};
/** From a time's interval to a rate's. */
const rateOf = (amount) => (i) => {
  if (!measured(i)) return null;
  const [low, high] = [cases.time_low_s[i], cases.time_high_s[i] ?? Infinity];
  return [amount(i) / high, amount(i) / cases.time_s[i], low ? amount(i) / low : amount(i) / cases.time_s[i]];
};
const UP = {
  sequences: ["Throughput: sequences per second", rate, rateOf((i) => cases.batch[i]), true],
  timesteps: ["Throughput: timesteps per second", rate, rateOf((i) => (cases.timesteps_per_s[i] ?? 0) * cases.time_s[i]), true],
  time: ["Time of a step", seconds, (i) => (measured(i) ? [cases.time_low_s[i] ?? 0, cases.time_s[i], cases.time_high_s[i] ?? Infinity] : null), false],
  speedup: ["Times as fast as the baseline", (v) => `${ratio(v)}×`, speedup, true],
  first: ["Time to the first result", seconds, plainOf("first_result_s"), false],
  memory: ["Peak memory", bytes, plainOf("peak_memory_bytes"), false],
  energy: ["Energy of a step", known((v) => `${digits(v)} J`), plainOf("energy_j"), false],
};
const ACROSS = { shape: "shape", batch: "batch", hidden_size: "hidden size", timesteps: "timesteps", window: "window" };
const AXES = ["section", "device", "mode", "dtype", "optimizer", "batch", "timesteps", "window", "input_size", "hidden_size", "num_layers", "bidirectional", "min_length", "batch_major"];
// More marks than this are neither quick nor a picture.
const MOST_MARKS = 1500;

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
  const shapes = across === "shape" ? worksOf(chosen) : [];
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
      marker: { color: colour(b), size: 9, symbol: found.map(symbol) },
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
    return { tickvals: shapes.map((_, n) => n), ticktext: shapes.map((w) => plain(works.group[w].split("/")[0], 40)), tickangle: narrow() ? -90 : shapes.length > 2 ? -35 : 0, range: [-0.6, shapes.length - 0.4] };
  let at = [...new Set(chosen.map((i) => cases[across][i]))].filter((v) => v != null).sort((a, b) => a - b);
  const axis = logarithmic(at, grouped, 1.15);
  while (at.length > (narrow() ? 6 : 14)) at = at.filter((_, n) => n % 2 === 0);
  return { ...axis, tickvals: at, ticktext: at.map(grouped), title: { text: ACROSS[across] } };
}

view("across", () => {
  const across = $("x-axis").value;
  const [title, format, valueOf, moreIsBetter] = UP[$("y-axis").value];
  $("across-title").textContent = `How does it scale? ${title}${across === "shape" ? ", shape by shape" : ` against ${ACROSS[across]}`}`;
  const shows = (i) => measured(i) && valueOf(i) && (across === "shape" || cases[across][i] != null);
  let chosen = pick().filter(shows);
  const focus = byWork[state.work]?.[0];
  const mine = $("family").value === "mine" && focus !== undefined && across !== "shape";
  if (mine) {
    const key = seriesKey(focus, across);
    chosen = chosen.filter((i) => seriesKey(i, across) === key);
  }
  if (!chosen.length) return nothing(shows, `No ${title.toLowerCase()} was recorded for what is chosen.`);
  const every = chosen;
  let note = mine ? " Only shapes that are as yours but for what goes across." : "";
  const lines = lineKinds(chosen);
  if (across !== "shape") note += lineNote(lines);
  if (across === "shape") {
    const kept = new Set(worksOf(chosen).slice(0, MOST_SHAPES));
    chosen = chosen.filter((i) => kept.has(cases.work[i]));
  }
  chosen = chosen.slice(0, MOST_MARKS);
  if (chosen.length < every.length) note += ` Drawn are the first ${grouped(chosen.length)} of ${many(every.length, "case")}: choose fewer.`;
  const { traces, shapes } = marks(chosen, across, valueOf, lines);
  const best = every.reduce((a, b) => (moreIsBetter === valueOf(b)[1] > valueOf(a)[1] ? b : a));
  return {
    says: `${many(every.length, "case")} of ${many(new Set(every.map((i) => cases.backend[i])).size, "backend")}. ${moreIsBetter ? "Highest" : "Lowest"}: ${backend(best)}, ${format(valueOf(best)[1])} at ${workOf(best)} (${word("mode", best)}). Hollow marks are INVALID.${note}`,
    traces, legend: chosen,
    layout: {
      height: 460, xaxis: acrossAxis(across, chosen, shapes),
      yaxis: logarithmic(chosen.flatMap((i) => valueOf(i)).concat($("y-axis").value === "speedup" ? [1] : []), format),
      shapes: $("y-axis").value === "speedup" ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: tone("edge"), dash: "dot", width: 1.5 } }] : [],
    },
    headings: ["backend", "shape", "mode", "device", title, $("y-axis").value === "speedup" ? "99.5% interval" : "95% interval", "trust"],
    rows: every.map((i) => [backend(i), workOf(i), word("mode", i), word("device", i), format(valueOf(i)[1]), valueOf(i)[0] === valueOf(i)[1] ? "" : `${format(valueOf(i)[0])} to ${format(valueOf(i)[2])}`, trusted(i)]),
  };
});

// ---- windows: one stream at a time, so that no window and no shape is chosen unseen

const CUT = words.kind.indexOf("truncation");
/** What is cut into windows, where: cases that differ in nothing but window and backend. */
const streamOf = (i) => JSON.stringify([...AXES.filter((key) => key !== "window").map((key) => cases[key][i]), works.variant[cases.work[i]]]);
const streams = new Map();
for (const i of all) {
  if (cases.kind[i] !== CUT || !measured(i)) continue;
  if (!streams.has(streamOf(i))) streams.set(streamOf(i), []);
  streams.get(streamOf(i)).push(i);
}
function makeStreams() {
  const select = $("stream");
  for (const [key, found] of streams) {
    const title = sections.length > 1 ? `; ${sections[cases.section[found[0]]].title}` : "";
    option(select, key, `${told({ ...questionOf(cases.work[found[0]]), window: null })}${title}`);
  }
  // The one with the most windows says the most.
  const size = (key) => new Set(streams.get(key).map((i) => cases.window[i])).size;
  if (streams.size) select.value = [...streams.keys()].reduce((a, b) => (size(b) > size(a) ? b : a));
  select.parentElement.hidden = streams.size < 2;
  select.addEventListener("change", () => redraw((each) => each.root.id === "windows"));
}

view("windows", () => {
  const chosen = (streams.get($("stream").value) ?? []).slice(0, MOST_MARKS);
  if (!chosen.length) return { says: "Nothing on this page was cut into windows (truncated back-propagation): python -m bench.run --suite truncation measures it." };
  const time = (i) => [(cases.time_low_s[i] ?? 0) / cases.timesteps[i], perTimestep(i), (cases.time_high_s[i] ?? Infinity) / cases.timesteps[i]];
  const size = (i) => (cases.peak_memory_bytes[i] > 0 ? plainOf("peak_memory_bytes")(i) : null);
  const sized = chosen.filter(size);
  const traces = marks(chosen, "window", time).traces;
  if (sized.length) for (const trace of marks(sized, "window", size).traces) traces.push({ ...trace, yaxis: "y2" });
  const best = chosen.reduce((a, b) => (perTimestep(b) < perTimestep(a) ? b : a));
  const least = sized.length ? sized.reduce((a, b) => (cases.peak_memory_bytes[b] < cases.peak_memory_bytes[a] ? b : a)) : null;
  return {
    says: `${capital(told({ ...questionOf(cases.work[chosen[0]]), window: null }))}. Time of one timestep of the whole batch${sized.length ? ", and below it peak memory," : ""} against the length of the windows that the sequence is cut into. Shortest: ${backend(best)}, ${seconds(perTimestep(best))} in windows of ${cases.window[best]}.${least === null ? "" : ` Least memory: ${backend(least)}, ${bytes(cases.peak_memory_bytes[least])} in windows of ${cases.window[least]}.`} What each window can learn: python -m bench.recommend.`,
    traces, legend: chosen,
    layout: {
      height: sized.length ? 620 : 420,
      xaxis: { ...acrossAxis("window", chosen, []), anchor: sized.length ? "y2" : "y" },
      yaxis: { ...logarithmic(chosen.flatMap(time), seconds), domain: sized.length ? [0.42, 1] : [0, 1], title: { text: narrow() ? "" : "time of a timestep" } },
      ...(sized.length ? { yaxis2: { ...logarithmic(sized.map((i) => cases.peak_memory_bytes[i]), bytes), domain: [0, 0.36], title: { text: narrow() ? "" : "peak memory" } } } : {}),
    },
    headings: ["backend", "window", "time per timestep", "95% interval", "peak memory", "trust"],
    rows: chosen.map((i) => [backend(i), String(cases.window[i]), seconds(perTimestep(i)), bounds(i, cases.timesteps[i]), bytes(cases.peak_memory_bytes[i]), trusted(i)]),
  };
});

// ---- the roofs

const hasRoofs = (i) => measured(i) && cases.operations[i] > 0 && cases.bytes_moved[i] > 0;
view("roofline", () => {
  const every = pick().filter(hasRoofs);
  if (!every.length) return nothing(hasRoofs, "The roofs (rate of matrix products, bandwidth) were not measured.");
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
    says: `Operations per second against operations per byte; the line is the most that the device can do (bandwidth, then matrix products); a grey dash is as far as the chain of steps, each after the other, lets that case go. Nearest to a roof: ${backend(best)}, ${workOf(best)} (${word("mode", best)})${of(best).length ? `: ${of(best).join(", ")}` : ""}.`,
    legend: chosen,
    traces: [...lines, {
      type: "scatter", mode: "markers", x: chained.map(x), y: chained.map((i) => y(i) / cases.of_chain_roof[i]),
      marker: { symbol: "line-ew-open", size: 11, color: tone("edge"), line: { width: 2 } }, hoverinfo: "skip",
    }, {
      type: "scatter", mode: "markers", x: xs, y: chosen.map(y),
      marker: { size: 9, color: chosen.map((i) => colour(cases.backend[i])), symbol: chosen.map(symbol) },
      hovertext: chosen.map((i) => hover(i, ...of(i))), hovertemplate: "%{hovertext}<extra></extra>",
    }],
    layout: {
      height: 460,
      xaxis: { ...logarithmic([from, to], digits, 1), title: { text: "operations per byte" } },
      yaxis: { ...logarithmic([...chosen.map(y), ...chained.map((i) => y(i) / cases.of_chain_roof[i]), ...lines.flatMap((l) => l.y)], rate), title: { text: narrow() ? "" : "operations per second" } },
    },
    headings: ["backend", "shape", "mode", "device", "operations/byte", "operations/s", "of matrix products", "of bandwidth", "of the chain"],
    rows: every.map((i) => [backend(i), workOf(i), word("mode", i), word("device", i), digits(x(i)), rate(y(i)), percent(cases.of_matmul_roof[i]), percent(cases.of_bandwidth_roof[i]), percent(cases.of_chain_roof[i])]),
  };
});

