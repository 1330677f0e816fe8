// Tables and lists, of plain strings.

/** A table; what is longer than `most` is said to be. */
function table(caption, headings, rows, most = 200) {
  const built = made("table");
  built.createCaption().textContent = rows.length > most ? `${caption} (the first ${most} of ${grouped(rows.length)})` : caption;
  const head = built.createTHead().insertRow();
  for (const text of headings) head.append(made("th", text, { scope: "col" }));
  const body = built.createTBody();
  for (const row of rows.slice(0, most)) {
    const line = body.insertRow();
    for (const [place, text] of row.entries()) {
      const cell = place ? made("td", text) : made("th", text, { scope: "row" });
      if (text.length > 60) cell.className = "long";
      else if (text.length > 24) cell.className = "words";
      const kind = { FASTER: "good", SLOWER: "bad", INVALID: "bad", UNCLEAR: "doubt" }[text];
      if (kind) cell.className = kind;
      line.append(cell);
    }
  }
  return scrolling(caption, built);
}
/** What may be wider than the page; with a keyboard it is moved from within. */
const scrolling = (label, inside) =>
  made("div", "", { kind: "scroll", tabindex: "0", role: "region", "aria-label": label, children: [inside] });

function option(select, value, text) {
  const found = new Option(text, String(value));
  select.append(found);
  return found;
}
/** A labelled control, its label before it. */
function field(id, label, control) {
  control.id = id;
  return made("div", "", { children: [made("label", label, { for: id }), control] });
}
