// Streams: how often which latency came, and the percentiles of it (bench/render/page/data.py).

$("latency").hidden = !Object.keys(data.latency).length;

const PARTS = [50, 90, 99, 99.9];
/** Where a bin of the histogram is, in seconds: its lower edge. */
const edge = (place) => 1e-9 * 10 ** (place / data.bins_per_decade);
const partOf = (i, part) => data.latency[i].parts.find(([each]) => each === part);
/** The share of the calls in the bin that a latency is in. */
function shareAt(i, value) {
  const { first, counts, calls } = data.latency[i];
  const place = Math.floor(data.bins_per_decade * Math.log10(value / 1e-9)) - first;
  return Math.max(counts[Math.min(Math.max(place, 0), counts.length - 1)] ?? 0, 1) / calls;
}
const late = (i) => (data.latency[i].missed == null ? "" : `${grouped(data.latency[i].missed)} of ${grouped(data.latency[i].calls)}`);

view("latency", () => {
  const order = inFocus().filter((i) => data.latency[i]).slice(0, MOST_BARS);
  if (!order.length) return state.work === null ? NO_SHAPE : { says: "The shape that is asked for above is no stream: its calls were not timed one by one." };
  const told = order.filter((i) => partOf(i, 99));
  const best = told.length ? told.reduce((a, b) => (partOf(b, 99)[2] < partOf(a, 99)[2] ? b : a)) : null;
  const deadline = data.latency[order[0]].deadline;
  const latest = order.filter((i) => data.latency[i].missed).map((i) => `${backend(i)} ${late(i)}`);
  const drawn = order.filter((i) => data.latency[i].counts.length);
  const lines = drawn.map((i) => {
    const { first, counts, calls } = data.latency[i];
    // An empty bin leaves a gap: its share is no place on a logarithmic axis.
    return {
      type: "scatter", mode: "lines", x: counts.map((_, n) => edge(first + n + 0.5)), y: counts.map((n) => (n ? n / calls : null)),
      line: { color: colour(cases.backend[i]), width: 1.5, shape: "hvh", dash: DASHES[cases.backend[i] % DASHES.length] },
      hovertext: counts.map((n, place) => `${plain(backend(i))}<br>${seconds(edge(first + place))} to ${seconds(edge(first + place + 1))}<br>${grouped(n)} of ${grouped(calls)} calls`),
      hovertemplate: "%{hovertext}<extra></extra>",
    };
  });
  const marks = drawn.map((i) => {
    const parts = data.latency[i].parts;
    return {
      type: "scatter", mode: "markers+text", x: parts.map(([, , mid]) => mid), y: parts.map(([, , mid]) => shareAt(i, mid)),
      error_x: { type: "data", symmetric: false, array: parts.map(([, , mid, high]) => high - mid), arrayminus: parts.map(([, low, mid]) => mid - low), color: colour(cases.backend[i]), thickness: 2, width: 4 },
      marker: { color: colour(cases.backend[i]), size: 10, symbol: symbol(i), line: { color: tone("back"), width: 1 } },
      text: parts.map(([part]) => `p${part}`), textposition: parts.map(([part]) => (part === 90 ? "bottom center" : "top center")), textfont: { size: 11, color: tone("text") },
      hovertext: parts.map(([part, low, mid, high]) => `${plain(backend(i))}<br>p${part}: ${seconds(mid)} (${secondsRange(low, high, mid)})`),
      hovertemplate: "%{hovertext}<extra></extra>",
    };
  });
  const shares = lines.flatMap((line) => line.y).filter((v) => v);
  const bottom = Math.floor(Math.log10(lowest(shares)));
  const steps = Array.from({ length: 1 - bottom }, (_, n) => 10 ** (bottom + n));
  const widest = lines.flatMap((line) => line.x);
  return {
    says: [
      `${ofShape(order[0])}. How often each latency came, from when a call was due until its output was there, with the percentiles that there are calls enough to tell and their 95% intervals.`,
      best === null ? "" : `Shortest p99: ${backend(best)}, ${seconds(partOf(best, 99)[2])}.`,
      deadline == null ? "" : latest.length ? `Later than ${seconds(deadline)}: ${listed(latest)}.` : `No call was later than ${seconds(deadline)}.`,
    ].filter(Boolean).join(" "),
    traces: drawn.length ? [...lines, ...marks] : null,
    legend: drawn,
    layout: {
      height: 440,
      xaxis: { ...logarithmic(widest, seconds), title: { text: "latency" } },
      yaxis: { type: "log", range: [bottom - 0.1, 0.3], tickvals: steps, ticktext: steps.map(percent), title: narrow() ? undefined : { text: "part of the calls" } },
    },
    headings: ["backend", "calls", ...PARTS.map((part) => `p${part}`), "slowest", "late"],
    rows: order.map((i) => [
      backend(i), grouped(data.latency[i].calls),
      ...PARTS.map((part) => { const found = partOf(i, part); return found ? `${seconds(found[2])} (${secondsRange(found[1], found[3], found[2])})` : ""; }),
      seconds(data.latency[i].most), late(i),
    ]),
  };
}, true);
