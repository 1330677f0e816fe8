// What pictures share: a heading, what it says in words, a plot, and the table behind the plot.

const views = [];
let saying; // what will say them again, once for all that changes together
const HEIGHT = 420;
const PLOT = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const plotly = $("plotly");

/**
 * make() gives {says, traces, layout, legend, headings, rows}; without traces only the words are
 * shown. legend: the cases whose backends' marks are explained beside the plot. ofWork: whether it
 * is of the shape in question; the others follow the filters.
 */
function view(id, make, ofWork = false) {
  const root = $(id);
  const title = () => root.querySelector("h2, h3").textContent;
  const says = made("p", "", { kind: "says" });
  const plot = made("div", "", { kind: "plot", role: "img", "aria-label": title() });
  const marks = made("div");
  const holder = made("div");
  const folded = made("details", "", { kind: "behind", children: [made("summary", "The table behind the plot"), holder] });
  root.append(says, marks, plot, folded);
  const found = { root, ofWork, stale: true, near: false, shown: null };
  found.fill = () => {
    if (folded.open && found.shown) holder.replaceChildren(table(`In numbers: ${title()}`, found.shown.headings, found.shown.rows));
  };
  // The words, and as much room as the plot will take: nothing moves under a reader's finger when it is drawn.
  found.say = () => {
    const shown = make();
    found.shown = shown;
    says.textContent = shown.says;
    plot.hidden = !shown.traces || !plotly;
    folded.hidden = marks.hidden = !shown.traces;
    if (shown.traces) {
      plot.style.minHeight = `${shown.layout.height ?? HEIGHT}px`;
      plot.setAttribute("aria-label", `${title()}. ${shown.says}`);
      marks.replaceChildren(legend((shown.legend ?? []).map((i) => cases.backend[i])));
      found.fill();
    }
    if (plot.hidden) root.setAttribute("aria-busy", "false");
  };
  found.draw = (width) => {
    if (!found.shown) found.say();
    if (plot.hidden || !window.Plotly) return;
    found.stale = false;
    Plotly.react(plot, found.shown.traces, layout(found.shown.layout, width), PLOT);
    root.setAttribute("aria-busy", "false");
  };
  folded.addEventListener("toggle", found.fill);
  views.push(found);
}
/** Say again, and draw again now or when they come near. */
function redraw(which = () => true) {
  for (const each of views.filter(which)) {
    each.shown = null;
    each.stale = true;
    each.root.setAttribute("aria-busy", "true");
  }
  // After what was asked for by hand.
  clearTimeout(saying);
  saying = setTimeout(sayAll, 0);
}
function sayAll() {
  for (const each of views) {
    if (!each.shown) each.say();
    if (each.near && each.stale) each.draw();
  }
}
/** Plotly comes as text and is run when a plot comes near: it is large, and the answers need not wait. */
function loadPlotly() {
  if (window.Plotly || !plotly) return;
  const script = document.createElement("script");
  // The page's policy knows this very text by its hash, and lets no other run.
  script.textContent = plotly.textContent;
  document.body.append(script);
  sayAll();
}

function layout(own, width) {
  const axis = { gridcolor: tone("grid"), linecolor: tone("edge"), zeroline: false, automargin: true, fixedrange: false };
  const axes = Object.fromEntries(["xaxis", "yaxis", ...Object.keys(own).filter((key) => /^[xy]axis\d$/.test(key))].map((key) => [key, { ...axis, ...own[key] }]));
  const merged = {
    font: { family: "system-ui, sans-serif", size: 13, color: tone("text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 60, r: 16, t: 12, b: 48 },
    height: HEIGHT,
    showlegend: false,
    hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: tone("back"), bordercolor: tone("edge"), font: { color: tone("text") } },
    // A finger that drags scrolls the page; a mouse zooms.
    dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
    ...own,
    autosize: !width,
    ...axes,
  };
  if (width) merged.width = width;
  return merged;
}

// ---- axes

/** Ticks at 1, 2 and 5 between two numbers, few enough to be read, in words of their own. */
function ticks(low, high, format, most = narrow() ? 6 : 9) {
  const found = [];
  // Bytes are round in powers of 2.
  if (format === bytes) {
    const between = high / low < 8 ? [1, 1.5] : [1];
    for (let power = Math.floor(Math.log2(low)); 2 ** power <= high; power++) found.push(...between.map((part) => part * 2 ** power));
  }
  else for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)) + 1; power++)
    for (const digit of [1, 2, 5]) found.push(Number((digit * 10 ** power).toPrecision(1)));
  let inside = found.filter((v) => v >= low / 1.001 && v <= high * 1.001);
  if (inside.length < 3 && format !== bytes) {
    // Less than a decade: steps of one size.
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((v) => v * power).find((v) => v >= rough);
    inside = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) inside.push(Number(v.toPrecision(6)));
  }
  if (inside.length > most && format !== bytes) inside = inside.filter((v) => /^1(e|0*$)|^0\.0*1$/.test(String(Number(v.toPrecision(1)))));
  while (inside.length > most) inside = inside.filter((_, place) => place % 2 === 0);
  return { tickvals: inside, ticktext: inside.map((v) => short(format(v))) };
}
/** A logarithmic axis over these values. */
function logarithmic(found, format, pad = 1.25) {
  const known = found.filter((v) => v > 0 && Number.isFinite(v));
  if (!known.length) return { type: "log" };
  let low = lowest(known) / pad;
  let high = highest(known) * pad;
  if (high / low < 4) {
    const middle = Math.sqrt(low * high);
    [low, high] = [middle / 2, middle * 2];
  }
  return { type: "log", range: [Math.log10(low), Math.log10(high)], minallowed: null, ...ticks(low, high, format) };
}
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
  return { range: [0, 1.05 * top], tickvals: at, ticktext: at.map((v) => (v ? short(format(v)) : "0")) };
}
/** A tick's words: without the zeros that stand for a measurement's digits. */
const short = (text) => text.replace(/(\.\d*?)0+(?=\D*$)/, "$1").replace(/\.(?=\D*$)/, "");
/** A linear axis just around these bounds. */
function spanning(low, high) {
  const pad = 0.08 * (high - low) || 0.05 * high;
  const [from, to] = [Math.max(0, low - pad), high + pad];
  const rough = (to - from) / (narrow() ? 2.5 : 4);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [5, 2, 1].map((v) => v * power).find((v) => v <= rough);
  const at = [];
  for (let v = Math.ceil(from / step) * step; v <= to; v += step) at.push(Number(v.toPrecision(12)));
  const [size, unit] = unitOf(to, SECONDS);
  return { range: [from, to], tickvals: at, ticktext: at.map((v) => `${Number((v / size).toPrecision(5))} ${unit}`) };
}
/** A layout with a row for each of these names; on a phone they stand over their rows, whole. */
function rows(names, more = {}) {
  const above = narrow();
  return {
    height: 70 + (more.showlegend ? 30 : 0) + (above ? 44 : 30) * names.length,
    margin: above ? { l: 8, r: 12, t: 12, b: 48 } : { l: 60, r: 16, t: 12, b: 48 },
    annotations: !above ? [] : names.map((name, place) => ({
      text: plain(name, 44), x: 0, xref: "paper", xanchor: "left", y: place, yanchor: "bottom", yshift: 7, showarrow: false, font: { color: tone("text") },
    })),
    ...more,
    yaxis: {
      tickvals: names.map((_, place) => place), ticktext: names.map((name) => plain(name, 40)), showticklabels: !above,
      range: [names.length - 0.4, above ? -0.9 : -0.6], gridcolor: "rgba(0,0,0,0)", fixedrange: true, ...more.yaxis,
    },
  };
}
