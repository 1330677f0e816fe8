// Every case that the filters leave, in pages.

const PAGE = 50;
function showCases(chosen) {
  const shows = { all: () => true, measured, invalid, without: (i) => !measured(i) }[$("outcome").value];
  const found = chosen.filter(shows);
  const number = (value) => value ?? Infinity;
  const order = {
    report: null,
    time: (a, b) => number(cases.time_s[a]) - number(cases.time_s[b]),
    speed: (a, b) => (speedup(b)?.[1] ?? 0) - (speedup(a)?.[1] ?? 0),
    backend: (a, b) => backend(a).localeCompare(backend(b)),
  }[$("sort").value];
  if (order) found.sort(order);
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.min(Math.max(0, state.page), pages - 1);
  const from = state.page * PAGE;
  const rows = found.slice(from, from + PAGE).map((i) => {
    const quick = speedup(i);
    return [backend(i), workOf(i), `${word("mode", i)} on ${word("device", i)}`, seconds(cases.time_s[i]),
      bounds(i), rate(sequences(i)), quick ? ratio(quick[1]) : "", trusted(i), why(i)];
  });
  const caption = found.length ? `${many(found.length, "case")}: ${grouped(from + 1)} to ${grouped(from + rows.length)}` : hiding(shows) || "No case.";
  $("cases").replaceChildren(table(caption, ["backend", "shape", "what", "time of a step", "95% interval", "sequences/s", "times as fast", "trust", "why, and what to do"], rows));
  $("page-of").textContent = `Page ${state.page + 1} of ${pages}`;
  $("previous").disabled = state.page === 0;
  $("next").disabled = state.page >= pages - 1;
  $("pages").hidden = pages === 1;
}
function turn(by) {
  state.page += by;
  showCases(pick());
}
