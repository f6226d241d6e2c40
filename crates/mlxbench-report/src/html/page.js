"use strict";
(() => {
  const table = document.querySelector("table.rows");
  if (table) {
    sortable(table);
    filterable(table);
  }
  document.querySelectorAll("a[data-name]").forEach(unpack);

  // A click on a column's name sorts by it, a second one the other way round. What has no figure
  // stays at the end.
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        const rows = [...body.rows];
        rows.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
        body.append(...rows);
      });
    });
  }

  function compare(a, b, sign) {
    const [x, y] = [a, b].map((cell) => cell.dataset.key);
    if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
    if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
    const [s, t] = [a, b].map((cell) => cell.textContent);
    if (!s || !t) return Boolean(t) - Boolean(s);
    return sign * s.localeCompare(t, "en", { numeric: true });
  }

  // Rows that fit all that is chosen are shown.
  function filterable(table) {
    const selects = [...document.querySelectorAll("select[data-filter]")];
    const shown = document.getElementById("shown");
    const rows = [...table.tBodies[0].rows];
    const apply = () => {
      const chosen = selects.filter((select) => select.value !== "");
      let count = 0;
      for (const row of rows) {
        const fits = chosen.every((select) => row.dataset[select.dataset.filter] === select.value);
        row.hidden = !fits;
        count += fits;
      }
      shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    };
    selects.forEach((select) => select.addEventListener("change", apply));
    document.querySelector(".filters").hidden = false;
    apply();
  }

  // A download comes unpacked, under its own name.
  function unpack(link) {
    if (!("DecompressionStream" in window)) return;
    const packed = link.href.slice(link.href.indexOf(",") + 1);
    link.download = link.dataset.name;
    link.addEventListener("click", async (event) => {
      if (link.href.startsWith("blob:")) return;
      event.preventDefault();
      const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      link.href = URL.createObjectURL(await new Response(stream).blob());
      link.click();
    });
  }
})();
