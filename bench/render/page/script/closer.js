// The shape in question, closer: its processes, its samples, its first result, its memory.

const MOST_BARS = 40;
const inFocus = () => (state.work === null ? [] : ranked(state.work));
const ofShape = (i) => `${capital(workOf(i))}; ${where(i)}`;
const NO_SHAPE = { says: "Nothing was measured of the shape that is asked for above." };
/** The samples of a case by process, each ascending: [process, its true median, samples in seconds]. */
const processesOf = (i) => data.samples[i].map(([process, median, parts]) =>
  [process, median, parts.map((part) => (part * cases.time_s[i]) / 1e4).sort((a, b) => a - b)]);

view("spread", () => {
  const order = inFocus().slice(0, MOST_BARS);
  if (!order.length) return NO_SHAPE;
  const found = order.map((i) => data.samples[i].map(([process, median]) => [process, median]));
  const every = found.flat().map(([, median]) => median);
  const [low, high] = [lowest(every), highest(every)];
  const reach = (row) => (row.length > 1 ? highest(row.map(([, m]) => m)) / lowest(row.map(([, m]) => m)) - 1 : 0);
  const widest = order.map((_, place) => place).reduce((a, b) => (reach(found[b]) > reach(found[a]) ? b : a));
  const most = highest(found.map((row) => row.length));
  return {
    says: `${ofShape(order[0])}. A mark is a process and its median. ${most > 1 ? `Furthest apart: those of ${backend(order[widest])}, by up to ${percent(reach(found[widest]))}. What two backends share in a process cancels in their ratio, which is why the verdicts above can be surer than these times.` : "One process cannot show how far processes differ."}`,
    traces: order.map((i, place) => ({
      type: "scatter", mode: "markers", x: found[place].map(([, median]) => median), y: found[place].map(() => place),
      marker: { color: colour(cases.backend[i]), size: 10, opacity: 0.75, symbol: symbol(i) },
      hovertext: found[place].map(([process, median]) => `${plain(backend(i))}<br>process ${process}: ${seconds(median)}`), hovertemplate: "%{hovertext}<extra></extra>",
    })),
    layout: rows(order.map(backend), { yaxis: { gridcolor: tone("grid") }, xaxis: high / low > 4 ? logarithmic(every, seconds) : spanning(low, high) }),
    headings: ["backend", "processes", "shortest median", "median of them", "longest median", "apart by"],
    rows: order.map((i, place) => {
      const medians = found[place].map(([, median]) => median);
      return [backend(i), String(medians.length), seconds(lowest(medians)), seconds(cases.time_s[i]), seconds(highest(medians)), medians.length > 1 ? percent(reach(found[place])) : ""];
    }),
  };
}, true);

// Beyond these a box alone says more than its points.
const MOST_POINTS = 3000;
/** The value below which a part of these lies, between two of them in proportion; NumPy's default. */
function quantile(sorted, part) {
  const place = part * (sorted.length - 1);
  const below = Math.floor(place);
  const rest = place - below;
  return rest ? sorted[below] * (1 - rest) + sorted[below + 1] * rest : sorted[below];
}
view("samples", () => {
  const order = inFocus();
  const select = $("sample-case");
  select.parentElement.hidden = !order.length;
  if (!order.length) return NO_SHAPE;
  const same = order.find((i) => cases.backend[i] === state.sample) ?? order[0];
  select.replaceChildren();
  for (const i of order) option(select, cases.backend[i], backend(i));
  select.value = String(cases.backend[same]);
  const processes = processesOf(same);
  const total = processes.reduce((sum, [, , found]) => sum + found.length, 0);
  const medians = processes.map(([, median]) => median);
  const which = data.whole_samples ? "Every sample" : `${grouped(total)} of ${grouped(cases.samples[same])} samples, evenly from the shortest to the longest of each process`;
  const name = (process) => (processes.length > 6 || narrow() ? String(process) : `process ${process}`);
  return {
    says: `${which} of ${backend(same)}. ${ofShape(same)}: ${many(cases.samples[same], "sample")} in ${many(processes.length, "process")}` +
      (processes.length > 1 ? `, whose medians differ by up to ${percent(highest(medians) / lowest(medians) - 1)}.` : "; one process cannot show how far processes differ."),
    traces: processes.map(([process, , found], place) => ({
      type: "box", name: `process ${process}`, x0: place, y: found, width: 0.6, whiskerwidth: 0.4,
      boxpoints: total > MOST_POINTS ? "outliers" : "all", jitter: 0.7, pointpos: 0, fillcolor: "rgba(0,0,0,0)",
      marker: { color: colour(cases.backend[same]), size: 5, opacity: 0.55 }, line: { color: tone("text"), width: 1.5 },
      hovertext: found.map((v) => `process ${process}: ${seconds(v)}`), hoveron: total > MOST_POINTS ? "boxes+points" : "points", hovertemplate: "%{hovertext}<extra></extra>",
    })),
    layout: {
      height: 380,
      xaxis: { tickvals: processes.map((_, p) => p), ticktext: processes.map(([n]) => name(n)), range: [-0.6, processes.length - 0.4], title: processes.length > 6 || narrow() ? { text: "process" } : undefined },
      yaxis: spanning(lowest(processes.map(([, , found]) => found[0])), highest(processes.map(([, , found]) => found[found.length - 1]))),
    },
    headings: ["process", "samples shown", "shortest", "lower quartile", "median", "upper quartile", "longest"],
    rows: processes.map(([process, median, found]) => [String(process), grouped(found.length), seconds(found[0]), seconds(quantile(found, 0.25)), seconds(median), seconds(quantile(found, 0.75)), seconds(found[found.length - 1])]),
  };
}, true);

view("first", () => {
  const order = inFocus().filter((i) => cases.first_result_s[i] != null).slice(0, MOST_BARS);
  if (!order.length) return state.work === null ? NO_SHAPE : { says: "No time of building, tracing and compiling was recorded here." };
  const parts = (i) => {
    const compile = Math.min(cases.compile_s[i] ?? 0, cases.first_call_s[i] ?? 0);
    return [cases.build_s[i] ?? 0, cases.trace_s[i] ?? 0, compile, Math.max(0, (cases.first_call_s[i] ?? 0) - compile)];
  };
  const names = ["build", "trace", "compile", "first step"];
  const patterns = ["", "/", "x", "."];
  const least = order.reduce((a, b) => (cases.first_result_s[b] < cases.first_result_s[a] ? b : a));
  const top = highest(order.map((i) => cases.first_result_s[i]));
  return {
    says: `${ofShape(order[0])}. From nothing to the first result: building the model, tracing it, compiling it, one step in steady state. Soonest: ${backend(least)}, ${seconds(cases.first_result_s[least])}.`,
    traces: names.map((name, part) => ({
      type: "bar", orientation: "h", name, width: narrow() ? 0.4 : 0.7,
      x: order.map((i) => parts(i)[part]), y: order.map((_, place) => place),
      // Parts are no backends: greys and patterns, not those colours.
      marker: { color: tone("edge"), line: { color: tone("back"), width: 1 }, pattern: { shape: patterns[part], fgcolor: tone("back"), bgcolor: part ? tone("edge") : undefined } },
      hovertext: order.map((i) => `${plain(backend(i))}<br>${name}: ${seconds(parts(i)[part])}<br>in all: ${seconds(cases.first_result_s[i])}`),
      hovertemplate: "%{hovertext}<extra></extra>",
    })),
    layout: rows(order.map(backend), {
      barmode: "stack", xaxis: linear(top, seconds), showlegend: true, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, traceorder: "normal" },
    }),
    headings: ["backend", ...names, "first result", "steps until it has caught up with the soonest"],
    rows: order.map((i) => [backend(i), ...parts(i).map(seconds), seconds(cases.first_result_s[i]), catchUp(i, least)]),
  };
}, true);
/** After how many steps the slower start is made up for. */
function catchUp(i, soonest) {
  if (i === soonest) return "";
  const gain = cases.time_s[soonest] - cases.time_s[i];
  if (gain <= 0) return "never";
  return grouped(Math.ceil((cases.first_result_s[i] - cases.first_result_s[soonest]) / gain));
}

view("memory", () => {
  const order = inFocus().filter((i) => cases.peak_memory_bytes[i] != null).slice(0, MOST_BARS);
  if (!order.length) return state.work === null ? NO_SHAPE : { says: "No memory was recorded here (bench.run --memory on)." };
  order.sort((a, b) => cases.peak_memory_bytes[a] - cases.peak_memory_bytes[b]);
  const top = Math.max(1, cases.peak_memory_bytes[order[order.length - 1]]);
  return {
    says: `${ofShape(order[0])}. Peak beyond the loaded framework. Least: ${backend(order[0])}, ${bytes(cases.peak_memory_bytes[order[0]])}; most: ${backend(order[order.length - 1])}, ${bytes(top)}.`,
    traces: [{
      type: "bar", orientation: "h", x: order.map((i) => cases.peak_memory_bytes[i]), y: order.map((_, place) => place), width: narrow() ? 0.4 : 0.7,
      marker: { color: order.map((i) => colour(cases.backend[i])) },
      hovertext: order.map((i) => hover(i, `peak memory ${bytes(cases.peak_memory_bytes[i])}`)),
      hovertemplate: "%{hovertext}<extra></extra>",
    }],
    layout: rows(order.map(backend), { xaxis: linear(top, bytes) }),
    headings: ["backend", "peak memory", "energy of a step"],
    rows: order.map((i) => [backend(i), bytes(cases.peak_memory_bytes[i]), known((v) => `${digits(v)} J`)(cases.energy_j[i])]),
  };
}, true);
