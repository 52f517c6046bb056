// Sorting and filters. Without this script the page shows the same rows in the order of the run.
// What was chosen stands in the address: ?q=cnn&Precision=bf16&worse=1&sort=Step time (ms)&down=1#cell-…

const PREFIXES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const FAILING = ["regressed", "failed", "missing"];
const main = document.querySelector("#cells ~ .scroll table");

function orderOf(cell) {
  if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
  const text = cell.firstChild?.nodeName === "svg" ? "" : (cell.firstChild?.textContent ?? "").trim();
  const number = /^[−-]?[\d,]*\.?\d+(?:e[+-]?\d+)?/.exec(text);
  if (!number) return text && text !== "–" ? text : undefined;
  const rest = text.slice(number[0].length).trim();
  return Number(number[0].replace(/,/g, "").replace("−", "-")) * (PREFIXES[rest[0]] ?? 1);
}

function compare(x, y, direction) {
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  if (typeof x === "number" && typeof y === "number") return direction * (x - y);
  return direction * String(x).localeCompare(String(y), "en", { numeric: true });
}

function sortBy(table, header, direction) {
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = [...table.tBodies[0].rows].map((row) => [orderOf(row.cells[header.cellIndex]), row]);
  table.tBodies[0].append(...keyed.sort(([x], [y]) => compare(x, y, sign)).map(([, row]) => row));
  if (table !== main) return;
  remember("sort", header.textContent);
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

const tools = document.querySelector(".tools");
const field = document.getElementById("filter");
const worse = document.getElementById("worse");
const rows = [...main.tBodies[0].rows];
const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

const wordsOf = (cell) => {
  const words = [...cell.querySelectorAll(".word")].map((word) => word.textContent);
  return words.length ? words : [cell.textContent.trim()];
};
const facets = [
  ["Workload", (row) => [row.dataset.workload]],
  ["Model", (row) => [row.dataset.model]],
  ...[...main.tHead.rows[0].cells]
    .filter((header) => header.dataset.facet !== undefined)
    .map((header) => [header.textContent, (row) => wordsOf(row.cells[header.cellIndex])]),
];
const chosen = [];
for (const [title, valuesOf] of facets) {
  const values = [...new Set(rows.flatMap(valuesOf))].filter((value) => value && value !== "–");
  if (values.length < 2 || values.length > 40) continue;
  values.sort((x, y) => x.localeCompare(y, "en", { numeric: true }));
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
  select.value = values.includes(state.get(title)) ? state.get(title) : "";
  label.append(title, " ", select);
  document.getElementById("facets").append(label);
  chosen.push([title, select, valuesOf]);
}

function filterRows() {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const active = chosen.filter(([, select]) => select.value);
  const target = location.hash.slice(1);
  let shown = 0;
  for (const row of rows) {
    const fits =
      wanted.every((word) => texts.get(row).includes(word)) &&
      active.every(([, select, valuesOf]) => valuesOf(row).includes(select.value)) &&
      (!worse?.checked || FAILING.some((word) => row.querySelector(`.word.${word}`)));
    row.hidden = !fits && row.id !== target;  // a link to a row always finds it
    shown += !row.hidden;
  }
  document.getElementById("shown").value = `${shown} of ${rows.length} cells`;
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
const sorted = [...main.tHead.rows[0].cells].find((header) => header.textContent === state.get("sort"));
if (sorted) sortBy(main, sorted, state.has("down") ? "descending" : "ascending");
document.getElementById(location.hash.slice(1))?.scrollIntoView();
