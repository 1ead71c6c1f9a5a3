// Gives the cells of tables the titles of their columns, which pages.css shows on a narrow screen,
// and long names in tables points at which they can be broken.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils")) {
    const titles = [...table.querySelectorAll("thead th")].map((title) => title.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].slice(1).forEach((cell, index) => {
        if (titles[index + 1]) cell.dataset.title = titles[index + 1];
      });
    }
    for (const code of table.querySelectorAll("code span.pre, code:not(:has(span.pre))")) {
      if (code.textContent.length < 24) continue;
      const parts = code.textContent.split(/(?<=[._(/,=:])/);
      code.replaceChildren(...parts.flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part])));
    }
  }
});
