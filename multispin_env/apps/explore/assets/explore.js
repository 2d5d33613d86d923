// Asks for what the controls say, and shows the answer. All state is in the controls and in the address.
(() => {
  "use strict";
  const by = (id) => document.getElementById(id);
  const form = by("controls");
  const view = document.querySelector("main").dataset.view;
  let asking = false;
  let again = false;

  const query = () => new URLSearchParams(new FormData(form)).toString();

  // One question at a time; what changes meanwhile is asked when the answer is there.
  async function draw() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    let found;
    try {
      found = await (await fetch(`/draw/${view}?${query()}`)).json();
    } catch (error) {
      found = { said: "page: expected an answer, got none; is multispin explore still running?" };
    }
    asking = false;
    if (again) {
      again = false;
      if (!found.said) {
        show(found);
      }
      draw();
      return;
    }
    show(found);
  }

  function show(found) {
    by("said").textContent = found.said || "";
    if (found.said) {
      restore();
    } else {
      replaceResults(found.html);
      for (const id of ["python", "command"]) by(id).textContent = found[id];
      for (const [name, text] of Object.entries(found.kept)) form.elements[name].options[0].textContent = text;
      by("link").href = found.link;
      history.replaceState(null, "", found.link);
      for (const input of form.querySelectorAll("[type=hidden]")) input.dataset.good = input.value;
    }
    document.dispatchEvent(new CustomEvent("drawn", { detail: found }));
  }

  // The new results; whoever was about to edit a cell still is.
  function replaceResults(html) {
    const cell = document.activeElement.dataset.cell;
    by("results").innerHTML = html;
    if (cell) {
      const same = by("results").querySelector(`[data-cell="${cell}"]`);
      if (same) same.focus();
    }
  }

  // Refused: what has no control of its own is as it was.
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
