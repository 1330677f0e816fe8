// The filters of the pictures across shapes, and which of them leaves nothing.

const DIMENSIONS = [
  ["section", "Session", (v) => sections[v].title],
  ["device", "Device", (v) => words.device[v]],
  ["mode", "Mode", (v) => words.mode[v]],
  ["dtype", "Precision", (v) => words.dtype[v]],
  ["kind", "Kind", (v) => words.kind[v]],
  ["optimizer", "Optimizer", (v) => words.optimizer[v] ?? NO_OPTIMIZER],
  ["batch", "Batch"],
  ["timesteps", "Steps"],
  ["window", "Window"],
  ["input_size", "Input"],
  ["hidden_size", "Units"],
  ["num_layers", "Layers"],
  ["bidirectional", "Directions", (v) => (v ? "both" : "one")],
];
const KEYS_OF_FILTERS = DIMENSIONS.map(([key]) => key);
// One of these at a time when the page opens: to compare across them is what "all" is for.
const ONE_AT_FIRST = ["device", "mode", "dtype"];

function makeFilters() {
  for (const [key, label, say] of DIMENSIONS) {
    const found = values(key);
    if (found.length < 2) continue;
    const select = made("select");
    option(select, "all", "all");
    for (const value of found) option(select, value, say ? say(value) : grouped(value));
    select.addEventListener("change", () => {
      state.filters[key] = select.value === "all" ? null : Number(select.value);
      update();
    });
    $("filter-fields").append(field(`filter-${key}`, label, select));
  }
  for (const [number, name] of words.backend.entries()) {
    const box = made("input", "", { type: "checkbox", value: String(number) });
    box.addEventListener("change", () => {
      if (box.checked) state.backends.add(number);
      else state.backends.delete(number);
      update();
    });
    $("backends").append(made("label", "", { kind: "tick", children: [box, mark(number), name] }));
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
  $("filters").addEventListener("submit", (event) => event.preventDefault());
}
function startFilters() {
  state.backends = new Set(words.backend.keys());
  state.valid = false;
  state.filters = {};
  const timed = all.filter(measured);
  for (const key of ONE_AT_FIRST) {
    const first = timed.find((i) => Object.entries(state.filters).every(([k, v]) => cases[k][i] === v));
    if (first !== undefined) state.filters[key] = cases[key][first];
  }
  showFilters();
}
function showFilters() {
  for (const [key] of DIMENSIONS) {
    const select = $(`filter-${key}`);
    if (select) select.value = String(state.filters[key] ?? "all");
  }
  $("valid-only").checked = state.valid;
  for (const box of $("backends").querySelectorAll("input")) box.checked = state.backends.has(Number(box.value));
}

/** What narrows the cases down: its name, and whether a case passes. */
function active() {
  const found = DIMENSIONS.filter(([key]) => state.filters[key] != null).map(([key, label, say]) => {
    const [column, value] = [cases[key], state.filters[key]];
    return { name: `${label} "${say ? say(value) : grouped(value)}"`, passes: (i) => column[i] === value };
  });
  if (state.backends.size < words.backend.length)
    found.push({ name: state.backends.size ? "the choice of backends" : "the choice of no backend", passes: (i) => state.backends.has(cases.backend[i]) });
  if (state.valid) found.push({ name: '"only measurements to be trusted"', passes: (i) => !invalid(i) });
  return found;
}
/** The cases that the filters leave. */
function pick() {
  const filters = active();
  return all.filter((i) => filters.every((each) => each.passes(i)));
}
/** Which filters leave nothing of the cases that `shows`; empty where something is left. */
function hiding(shows) {
  const filters = active();
  const there = all.filter(shows);
  if (!there.length || there.some((i) => filters.every((each) => each.passes(i)))) return "";
  const alone = filters.map((each) => [each, there.filter((i) => filters.every((other) => other === each || other.passes(i))).length]).filter(([, number]) => number);
  if (alone.length) return alone.map(([each, number]) => `${capitalised(each.name)} hides everything: without it ${many(number, "case")}.`).join(" ");
  return `${capitalised(listed(filters.map((each) => each.name)))} together hide everything: ${many(there.length, "case")} without them.`;
}
const capitalised = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
/** Why a picture shows nothing: a filter, or that it was not recorded. */
const nothing = (shows, otherwise) => ({ says: hiding(shows) || otherwise });

function summary(chosen) {
  const left = data.left_out ? ` ${grouped(data.left_out)} more did not fit into the page: write it with --device or --kind.` : "";
  const hidden = hiding(() => true);
  return `Chosen: ${grouped(chosen.length)} of ${many(count, "case")}, ${grouped(chosen.filter(measured).length)} with a time, ${grouped(chosen.filter(invalid).length)} INVALID; ${many(new Set(chosen.map((i) => cases.backend[i])).size, "backend")}, ${many(worksOf(chosen).length, "shape")}.${hidden && ` ${hidden}`}${left}`;
}
