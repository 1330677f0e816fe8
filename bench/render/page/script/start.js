// The page comes to life: what is shown at first, and what happens when something is chosen.

/** After the filters have changed. */
function update() {
  const chosen = pick();
  $("shown").textContent = summary(chosen);
  state.page = 0;
  state.everywhere = false;
  showWhere(chosen);
  showCases(chosen);
  redraw((each) => !each.ofWork);
}
/** As it is when the page opens: the newest shape on which backends were compared, and one mode. */
function start() {
  state.sample = null;
  $("outcome").value = "all";
  $("sort").value = "report";
  startFilters();
  const plainFirst = (each) => ranked(each.works[0]).length > 1 && each.question.window == null;
  const first = questions.find(plainFirst) ?? questions.find((each) => ranked(each.works[0]).length > 1) ?? questions[0];
  ask(first?.question ?? null);
  startAxes();
  update();
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
  for (const [key, [title]] of Object.entries(UP)) option($("y-axis"), key, title);
  for (const [key, label] of Object.entries(ACROSS)) option($("x-axis"), key, label);
  for (const id of ["x-axis", "y-axis", "family"]) $(id).addEventListener("change", () => redraw((each) => each.root.id === "across"));
  $("sample-case").addEventListener("change", (event) => {
    state.sample = Number(event.target.value);
    redraw((each) => each.root.id === "samples");
  });
  $("reset").addEventListener("click", start);
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
    // It takes a while to be read: after what was asked for by hand.
    if (views.some((each) => each.near)) setTimeout(loadPlotly, 0);
  }, { rootMargin: "300px" });
  for (const each of views) near.observe(each.root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  // A turned phone has other ticks, and names beside the rows instead of over them.
  matchMedia("(max-width: 639px)").addEventListener("change", () => { showDots(); redraw(); });
  // On paper all plots, in the width of a page; the style makes the colours those of light.
  addEventListener("beforeprint", () => {
    // On paper nothing can be opened: it stands there. The tables behind plots are left out.
    const folded = [...document.querySelectorAll("main details:not([open]):not(.behind)")];
    for (const one of folded) one.open = true;
    addEventListener("afterprint", () => { for (const one of folded) one.open = false; }, { once: true });
    loadPlotly();
    for (const each of views) each.draw(680);
  });
  addEventListener("afterprint", () => redraw());
}

makeQuestion();
makeFilters();
makeStreams();
wire();
$("asking").hidden = $("explorer").hidden = false;
start();
performance.mark("page usable");
