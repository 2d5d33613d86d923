// Requests results for the values of the controls and shows them. All state is in the controls and in the address.
(() => {
  "use strict";
  const by = (id) => document.getElementById(id);
  const form = by("controls");
  const view = document.querySelector("main").dataset.view;
  let waiting = false;
  let changed = false; // while waiting

  const query = () => new URLSearchParams(new FormData(form)).toString();

  // One request at a time; later changes are requested after the answer.
  async function draw() {
    if (waiting) {
      changed = true;
      return;
    }
    waiting = true;
    let results;
    try {
      results = await (await fetch(`/draw/${view}?${query()}`)).json();
    } catch (error) {
      results = { error: "page: expected an answer, got none; is multispin explore still running?" };
    }
    waiting = false;
    if (!changed || !results.error) show(results);
    if (changed) {
      changed = false;
      draw();
    }
  }

  function show(results) {
    by("error").textContent = results.error || "";
    if (results.error) {
      restore();
    } else {
      replaceResults(results.html);
      for (const id of ["python", "command"]) by(id).textContent = results[id];
      for (const [name, text] of Object.entries(results.option_labels)) document.querySelector(`[data-label="${name}"]`).textContent = text;
      by("link").href = results.link;
      history.replaceState(null, "", results.link);
      for (const input of form.querySelectorAll("[type=hidden]")) input.dataset.good = input.value;
    }
    document.dispatchEvent(new CustomEvent("drawn", { detail: results }));
  }

  // Replace the results; a focused cell keeps the focus.
  function replaceResults(html) {
    const cell = document.activeElement.dataset.cell;
    by("results").innerHTML = html;
    if (cell) {
      const same = by("results").querySelector(`[data-cell="${cell}"]`);
      if (same) same.focus();
    }
  }

  // Undo a refused edit.
  function restore() {
    for (const input of form.querySelectorAll("[type=hidden]")) input.value = input.dataset.good;
    for (const cell of document.querySelectorAll("[data-cell]")) cell.textContent = cell.dataset.good;
  }

  function set(name, value) {
    form.elements[name].value = value;
    draw();
  }

  function commit(cell) {
    const text = cell.textContent.trim();
    if (text === cell.dataset.good) return;
    const parts = form.elements.edits.value.split(";");
    const others = parts.filter((part) => part && part.split("=")[0] !== cell.dataset.cell);
    set("edits", [...others, `${cell.dataset.cell}=${text.replaceAll(";", ",")}`].join(";"));
  }

  form.addEventListener("input", (event) => {
    const output = event.target.closest(".control").querySelector("output");
    if (output) output.textContent = `${event.target.value} ${output.dataset.unit}`.trim();
    draw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  document.addEventListener("focusin", (event) => {
    if (event.target.dataset.cell) getSelection().selectAllChildren(event.target);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.dataset.cell && event.target.isConnected) commit(event.target);
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (!cell.dataset.cell) return;
    if (event.key === "Escape") cell.textContent = cell.dataset.good;
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      cell.blur();
    }
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.set) set(button.dataset.set, button.dataset.value);
    if (button.dataset.copy) {
      const title = button.textContent;
      await navigator.clipboard.writeText(by(button.dataset.copy).textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = title), 1500);
    }
  });

  document.dispatchEvent(new CustomEvent("drawn", { detail: {} }));
})();
