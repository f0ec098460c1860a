// The list of structures: shown or not, selected, pointed at.

const byId = (id) => document.getElementById(id);

export function buildStructures(facts, state) {
  const list = byId("structures");
  for (const item of facts.structures) list.append(entry(item, state));
  const all = facts.structures.map((item) => item.name);
  byId("all-on").addEventListener("click", () => state.set({ shown: new Set(all), outlines: true }));
  byId("all-off").addEventListener("click", () => state.set({ shown: new Set() }));
  byId("deselect").addEventListener("click", () => state.set({ selected: null }));
  state.listen(() => reflect(facts, state));
  reflect(facts, state);
}

function entry(item, state) {
  const line = document.createElement("li");
  line.dataset.name = item.name;
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", `show ${item.name}`);
  box.addEventListener("change", () => toggle(state, item.name, box.checked));
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.borderTopColor = item.colour;
  swatch.style.borderTopStyle = item.dash.length ? "dashed" : "solid";
  const name = document.createElement("button");
  name.type = "button";
  name.className = "name";
  name.textContent = item.name;
  name.title = `${item.name} (${item.kind}): select and go to it`;
  name.addEventListener("click", () => select(state, item));
  const size = document.createElement("span");
  size.className = "cc";
  size.textContent = `${item.cc} cc`;
  line.append(box, swatch, name, size);
  line.addEventListener("pointerenter", () => state.set({ near: item.name }));
  line.addEventListener("pointerleave", () => state.set({ near: null }));
  name.addEventListener("focus", () => state.set({ near: item.name }));
  name.addEventListener("blur", () => state.set({ near: null }));
  return line;
}

function toggle(state, name, on) {
  const shown = new Set(state.get("shown"));
  if (on) shown.add(name);
  else shown.delete(name);
  state.set({ shown });
}

/** Select a structure, show it and go to it; a second time: let it go. */
export function select(state, item) {
  if (state.get("selected") === item.name) {
    state.set({ selected: null });
    return;
  }
  const shown = new Set(state.get("shown")).add(item.name);
  state.set({ selected: item.name, shown, point: [...item.point] });
}

function reflect(facts, state) {
  for (const line of byId("structures").children) {
    const { name } = line.dataset;
    line.firstElementChild.checked = state.get("shown").has(name);
    line.classList.toggle("near", state.get("near") === name);
    line.classList.toggle("selected", state.get("selected") === name);
    line.querySelector("button").setAttribute("aria-pressed", String(state.get("selected") === name));
  }
  byId("deselect").disabled = !state.get("selected");
}
