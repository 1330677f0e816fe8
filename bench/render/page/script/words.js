// How quantities are told: letter for letter as bench/telling/quantities.py tells them, so that the
// page and the terminal never differ in a digit. This file knows numbers only.

/** The number of decimals of a value's `count`-th digit. */
const decimals = (value, count) => Math.max(0, count - 1 - Math.floor(Math.log10(value)));

/** With so many digits after the point. Of two that are equally near, the even one, as in Python. */
function fixed(value, places) {
  const more = 60; // a tie is a 5 and nothing after it; no double of these sizes has more digits
  const exact = value.toFixed(Math.min(100, places + more));
  const kept = exact.slice(0, exact.length - (Math.min(100, places + more) - places)).replace(/\.$/, "");
  const tie = /^50*$/.test(exact.slice(exact.length - (Math.min(100, places + more) - places)));
  return tie && "02468".includes(kept.slice(-1)) ? kept : value.toFixed(places);
}
/** Python's `#.3g`, or with `bare` its `.3g`, which leaves out zeros at the end. */
function precise(value, count = 3, bare = false) {
  if (value === 0) return bare ? "0" : (0).toFixed(count - 1);
  const trimmed = (text) => (bare && text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const [mantissa, power] = value.toExponential(count - 1).split("e");
  if (Number(power) >= count || Number(power) < -4) {
    const sign = power[0] === "-" ? "-" : "+";
    return `${trimmed(mantissa)}e${sign}${power.replace(/^[+-]/, "").padStart(2, "0")}`;
  }
  const rounded = value.toPrecision(count);
  const even = fixed(value, decimals(value, count));
  return trimmed(Number(even) < Number(rounded) ? even : rounded);
}
function digits(value) {
  if (value === Infinity) return "∞";
  if (value >= 999.5) return value < 1e7 ? fixed(value, 0) : precise(value, 3, true);
  return precise(value);
}
const SECONDS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
const BYTES = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [1024, "KiB"], [1, "B"]];
const unitOf = (value, units) => units.find(([size]) => Math.abs(value) >= 0.9995 * size) ?? units[units.length - 1];
/** Where there is no value there is no word. */
const known = (format) => (value) => (value == null ? "" : format(value));

const seconds = known((value) => {
  const [size, unit] = unitOf(value, SECONDS);
  return `${digits(value / size)} ${unit}`;
});
/** Two times in the unit in which `like` is told, which stands beside them. */
function secondsRange(low, high, like) {
  const [size] = unitOf(like, SECONDS);
  return `${digits(low / size)}–${digits(high / size)}`;
}
const bytes = known((value) => {
  const [size, unit] = unitOf(value, BYTES);
  const scaled = value / size;
  return `${scaled === 0 || scaled >= 999.5 ? fixed(scaled, 0) : precise(scaled)} ${unit}`;
});
const rate = known((value) => {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (value >= 0.9995 * size) return `${digits(value / (unit === "k" ? 1e3 : size))}${unit}`;
  return value >= 999.5 ? Number(digits(value)).toLocaleString("en") : digits(value);
});
/** How many times as fast: the bare number. */
const ratio = known((value) => {
  // A bound beyond a million says only that nobody knows it, and so does its reciprocal.
  if (!(value > 1e-6 && value < 1e6)) return value > 1 ? "∞" : "0";
  if (value >= 999.5) return digits(value);
  return value >= 10 || value < 0.1 ? precise(value, 3, true) : fixed(value, 2);
});
const ratioRange = (low, high) => `${ratio(low)}–${ratio(high)}`;
const percent = known((part) => `${part >= 0.0095 ? fixed(100 * part, 0) : precise(100 * part, 1, true)}%`);
const grouped = known((value) => value.toLocaleString("en"));
const many = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
/** a, b and c; of a long list the first few and how many more there are. */
function listed(names, most = 6) {
  const told = names.length > most ? [...names.slice(0, most), `${names.length - most} more`] : names;
  return told.length < 2 ? told.join("") : `${told.slice(0, -1).join(", ")} and ${told[told.length - 1]}`;
}
