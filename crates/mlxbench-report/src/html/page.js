"use strict";
(() => {
  const table = document.querySelector("table.rows");
  if (table) {
    sortable(table);
    filterable(table);
  }
  document.querySelectorAll("a[data-name]").forEach(unpack);

  // A click on a column's name sorts by it, the best first, a second one the other way round. What has no
  // figure stays at the end.
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.title = head.title;
      head.removeAttribute("title");
      head.replaceChildren(button);
      const better = button.querySelector(".better");
      button.addEventListener("click", () => {
        // The better end first: rates fall, times rise.
        const sorted = head.getAttribute("aria-sort");
        const falling = better !== null && better.title.startsWith("higher");
        const down = sorted === "none" ? falling : sorted === "ascending";
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

  // Rows that fit all that is chosen are shown, in both tables; in charts all else is faint.
  function filterable(table) {
    const bar = document.querySelector(".filters");
    const selects = [...bar.querySelectorAll("select")];
    const shown = document.getElementById("shown");
    const clear = document.getElementById("clear");
    const rows = [...table.tBodies[0].rows];
    const others = [...document.querySelectorAll("table.compact tbody tr")];
    const drawn = [...document.querySelectorAll("svg.chart g[data-target]")];
    const apply = () => {
      const chosen = selects.filter((select) => select.value !== "");
      const targets = new Set();
      let count = 0;
      for (const row of rows) {
        const fits = chosen.every((select) => row.dataset[select.dataset.filter] === select.value);
        row.hidden = !fits;
        count += fits;
        if (fits) targets.add(row.dataset.target);
      }
      const all = chosen.length === 0;
      const out = (target) => !all && target !== "" && !targets.has(target);
      others.forEach((row) => { row.hidden = out(row.dataset.target); });
      drawn.forEach((group) => group.classList.toggle("off", out(group.dataset.target)));
      shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
      bar.classList.toggle("active", !all);
      clear.hidden = all;
    };
    selects.forEach((select) => select.addEventListener("change", apply));
    clear.addEventListener("click", () => {
      selects.forEach((select) => { select.value = ""; });
      apply();
    });
    bar.hidden = selects.length === 0;
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
