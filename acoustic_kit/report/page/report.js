"use strict";

// Sort tables by their header buttons; empty values come last in both directions.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const numeric = header.classList.contains("number");
      const now = header.getAttribute("aria-sort");
      const up = now ? now === "descending" : !numeric; // numbers: largest first
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
        return up ? order : -order;
      };
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows.sort(compare));
    });
  });
}

// Describe the cell of a matrix under the pointer, below the matrix, so that a finger does not cover the text.
for (const figure of document.querySelectorAll("figure.readable")) {
  const words = figure.querySelector("output");
  const rest = words.textContent;
  const read = (event) => {
    const title = event.target.closest("rect")?.querySelector("title");
    words.textContent = title ? title.textContent : rest;
  };
  figure.addEventListener("pointerover", read);
  figure.addEventListener("pointerdown", read);
}

// Play one clip at a time.
const players = [...document.querySelectorAll("audio")];
for (const player of players) {
  player.addEventListener("play", () => players.forEach((other) => other === player || other.pause()));
}
