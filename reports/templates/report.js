"use strict";
// Sorting and filtering; without this script the page shows the same rows in the order of the run.

function compareCells(column, direction) {
  const order = (row) => row.cells[column].dataset.order ?? (column === 0 ? row.cells[0].textContent : undefined);
  return (a, b) => {
    const [x, y] = [order(a), order(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    const difference = x - y;
    return direction * (Number.isNaN(difference) ? x.localeCompare(y, "en", { numeric: true }) : difference);
  };
}

function sortBy(table, header) {
  const first = header.classList.contains("number") ? "descending" : "ascending";
  const other = { ascending: "descending", descending: "ascending" };
  const next = other[header.getAttribute("aria-sort")] ?? first;
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", next);
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compareCells(header.cellIndex, next === "ascending" ? 1 : -1)));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}

const field = document.getElementById("filter");
const rows = [...document.querySelectorAll("#cells ~ .scroll tbody tr")];

function filterRows() {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
  }
  document.getElementById("shown").value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} cells`;
}

field.addEventListener("input", filterRows);
field.closest("[hidden]").hidden = false;
filterRows();
