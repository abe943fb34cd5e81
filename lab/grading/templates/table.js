// Filters the table of students. Sorting is sortable.js's.
"use strict";
(() => {
  const table = document.getElementById("table");
  const [find, state, items, shown] = ["find", "state", "items", "shown"].map((id) => document.getElementById(id));
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const [row, text] of rows) {
      const fits = (!state.value || row.dataset.state === state.value) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      number += fits;
    }
    shown.textContent = `${number} of ${rows.length} shown`;
  }

  find.addEventListener("input", filter);
  state.addEventListener("change", filter);
  items.addEventListener("change", () => table.classList.toggle("without-items", !items.checked));
  document.querySelector(".controls").hidden = false;
  filter();
})();
