// Sorting and filters. Without this script the page shows the same rows in the order of the run.
// What was chosen stands in the address: ?q=cnn&Precision=bf16&worse=1&sort=train: Step time (ms)&down=1#cell-…

const PREFIXES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const FAILING = ["regressed", "failed", "missing"];

function orderOf(cell) {
  if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
  const text = cell.firstChild?.nodeName === "svg" ? "" : (cell.firstChild?.textContent ?? "").trim();
  const number = /^[−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?/.exec(text);
  if (!number) return text && text !== "–" ? text : undefined;
  const rest = text.slice(number[0].length).trim();
  return Number(number[0].replace(/,/g, "").replace("−", "-")) * (PREFIXES[rest[0]] ?? 1);
}

const words = new Intl.Collator("en", { numeric: true });

function compare(x, y, direction) {
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  if (typeof x === "number" && typeof y === "number") return direction * (x - y);
  return direction * words.compare(x, y);
}

function sortBy(table, header, direction) {
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [orderOf(row.cells[header.cellIndex]), row]);
  keyed.sort(([x], [y]) => compare(x, y, sign));
  const sorted = document.createDocumentFragment();
  for (const [, row] of keyed) sorted.append(row);
  body.append(sorted);
  const group = table.closest(".group");
  if (group === null) return;
  remember("sort", `${group.id.slice(3)}: ${header.textContent}`);
  remember("down", sign < 0 ? "1" : "");
}

function pressed(table, header) {
  const other = { ascending: "descending", descending: "ascending" };
  const first = header.classList.contains("w") || header.cellIndex === 0 ? "ascending" : "descending";
  sortBy(table, header, other[header.getAttribute("aria-sort")] ?? first);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => pressed(table, header));
  }
}

// A configuration is one line: where its workload has more columns than a sheet is wide, it is a row of each table.
const groups = [...document.querySelectorAll(".group")].map((group) => {
  const tables = [...group.querySelectorAll(":scope > .paper > table")];
  const lines = [...tables[0].tBodies[0].rows].map((row, number) => {
    const rows = tables.map((table) => table.tBodies[0].rows[number]);
    const text = [...rows.map((one) => one.textContent), row.dataset.f.replaceAll("|", " "), row.dataset.w].join(" ");
    return { rows, facets: row.dataset.f.split("|"), text: text.toLowerCase() };
  });
  const codes = group.querySelectorAll(".commands li code");
  const checkout = group.querySelector(".commands .command code")?.textContent;
  const begin = group.querySelector(".commands .begin code")?.textContent;
  lines.filter(({ rows }) => rows[0].id).forEach(({ rows: [row] }, number) => {
    if (!codes[number]) return;
    const told = () => [checkout, `${begin} ${codes[number].textContent}`.trim()].filter(Boolean).join("\n");
    row.cells[0].append(copyButton(`Copy the command of ${row.cells[0].textContent}`, told));
  });
  return { group, lines, open: group.open };
});
const all = groups.flatMap(({ lines }) => lines);

const tools = document.querySelector(".tools");
const field = document.getElementById("filter");
const worse = document.getElementById("worse");
const chosen = [];
tools.dataset.facets.split("|").forEach((title, place) => {
  const values = [...new Set(all.map(({ facets }) => facets[place]))].filter(Boolean);
  if (values.length < 2 || values.length > 40) return;
  values.sort(words.compare);
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
  select.value = values.includes(state.get(title)) ? state.get(title) : "";
  label.append(title, " ", select);
  document.getElementById("facets").append(label);
  chosen.push([title, select, place]);
});

function filterRows() {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const active = chosen.filter(([, select]) => select.value);
  const target = location.hash.slice(1);
  const filters = wanted.length || active.length || worse?.checked;
  let shown = 0;
  for (const { group, lines, open } of groups) {
    let here = 0;
    for (const { rows, facets, text } of lines) {
      const fits =
        (wanted.every((word) => text.includes(word)) &&
          active.every(([, select, place]) => facets[place] === select.value) &&
          (!worse?.checked || FAILING.some((word) => rows[0].querySelector(`.word.${word}`)))) ||
        (target !== "" && rows[0].id === target);  // a link to a row always finds it
      for (const row of rows) if (row.hidden === fits) row.hidden = !fits;
      here += fits;
      shown += fits && rows[0].id !== "";
    }
    group.hidden = here === 0;
    if (filters || (target !== "" && lines.some(({ rows }) => rows[0].id === target))) group.open = here > 0;
    else group.open = open;
  }
  const count = all.filter(({ rows }) => rows[0].id).length;
  document.getElementById("shown").value = `${shown} of ${count} configurations`;
}

function chose() {
  filterRows();
  remember("q", field.value);
  remember("worse", worse?.checked ? "1" : "");
  for (const [title, select] of chosen) remember(title, select.value);
}

field.value = state.get("q") ?? "";
if (worse) worse.checked = state.has("worse");
for (const kind of ["input", "change"]) tools.addEventListener(kind, chose);
tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("reset", () => setTimeout(chose));
tools.hidden = false;
addEventListener("hashchange", filterRows);
filterRows();
const [workload, title] = (state.get("sort") ?? "").split(": ");
const sorted = [...document.querySelectorAll(`#of-${CSS.escape(workload)} th[scope="col"]`)]
  .find((header) => header.textContent === title);
if (sorted) sortBy(sorted.closest("table"), sorted, state.has("down") ? "descending" : "ascending");
unfold();
