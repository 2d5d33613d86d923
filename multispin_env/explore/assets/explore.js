// What the page does without asking the server: edits of the table, copies, the address, values beside sliders.
(function () {
  "use strict";
  let asks = 0;
  const ask = (name, text) => dash_clientside.set_props({ type: "asked", name }, { data: { text, ask: ++asks } });

  function goodEdits() {
    const link = document.getElementById("link");
    return new URL(link.href).searchParams.get("edits") || "";
  }

  function commit(cell) {
    const text = cell.textContent.trim();
    if (text === cell.dataset.good) return;
    const kept = goodEdits().split(";").filter((part) => part && part.split("=")[0] !== cell.dataset.cell);
    ask("edits", [...kept, `${cell.dataset.cell}=${text.replaceAll(";", ",")}`].join(";"));
  }

  function restore() {
    for (const cell of document.querySelectorAll("[data-cell]")) {
      if (cell.textContent !== cell.dataset.good) cell.textContent = cell.dataset.good;
    }
  }

  document.addEventListener("focusout", (event) => {
    if (event.target.dataset && event.target.dataset.cell) commit(event.target);
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (!cell.dataset || !cell.dataset.cell) return;
    if (event.key === "Escape") cell.textContent = cell.dataset.good;
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      cell.blur();
    }
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.dataset && event.target.dataset.cell) getSelection().selectAllChildren(event.target);
  });
  document.addEventListener("input", (event) => {
    const number = event.target.type === "range" && event.target.closest(".control").querySelector("output");
    if (number) number.textContent = `${event.target.value} ${number.dataset.unit}`.trim();
  });
  document.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "undo-edits") ask("edits", "");
    if (button.dataset.copy) {
      const said = button.textContent;
      navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(() => {
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = said), 1500);
      });
    }
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.explore = {
    // after the server has answered: the address restores what is shown, and refused cells are as they were
    redrawn(href, said) {
      if (href && href !== location.pathname + location.search) history.replaceState(history.state, "", href);
      if (said) restore();
      return "";
    },
  };
})();
