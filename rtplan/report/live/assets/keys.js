// The keyboard: what each key does, and the panel that says so.

import { isWindow, presetsOf, windowed } from "./controls.js";
import { setZoom, zoomBy } from "./mouse.js";
import { moved, setWindow } from "./state.js";

const byId = (id) => document.getElementById(id);
const VIEWS = ["axial", "coronal", "sagittal"];
const LAYOUTS = ["planes", "arms"];
const WHOLE = { axial: null, coronal: null, sagittal: null };

function next(list, current) {
  return list[(list.indexOf(current) + 1) % list.length];
}

/** Key to its words and what it does. */
function table(facts, state, active) {
  const scroll = (slices) => () => state.set({ point: moved(facts, active().view, state.get("point"), slices) });
  const arms = facts.doses?.arms ?? [];
  const turn = (name) => () => state.set({ [name]: !state.get(name) });
  const optionsOf = (id) => [...byId(id).options].map((item) => item.value);
  const step = (id) => () => state.set({ [id]: next(optionsOf(id), state.get(id)) });
  const seconds = () => optionsOf("second").filter((name) => name !== state.get("image"));
  const blend = (by) => () => state.set({ blend: Math.min(Math.max(state.get("blend") + by, 0), 1) });
  return {
    ArrowUp: ["next slice: up, forward or left", scroll(1)],
    ArrowDown: ["previous slice", scroll(-1)],
    PageUp: ["ten slices on", scroll(10)],
    PageDown: ["ten slices back", scroll(-10)],
    Home: ["back to where the page opened", () => state.set({ point: facts.centre, zoom: { ...WHOLE } })],
    l: ["three planes or two arms", () => arms.length > 1 && state.set({ layout: next(LAYOUTS, state.get("layout")) })],
    v: ["next plane (two arms)", () => state.set({ view: next(VIEWS, state.get("view")) })],
    m: ["next image", step("image")],
    b: ["next image over it, or none", () => state.set({ second: next(seconds(), state.get("second")) })],
    "[": ["less of the second image", blend(-0.1)],
    "]": ["more of the second image", blend(0.1)],
    w: ["next window", () => nextWindow(facts, state)],
    a: ["next arm", () => arms.length && state.set({ arm: next(arms, state.get("arm")) })],
    o: ["next arm to compare with", () => arms.length && state.set({ other: next(arms, state.get("other")) })],
    d: ["next colours: dose, difference, uncertainty, none", () => arms.length && step("overlay")()],
    i: ["isodose lines on or off", turn("isodoses")],
    s: ["structures on or off", turn("outlines")],
    "+": ["zoom in", () => zoomAtPoint(facts, state, active(), 1.25)],
    "-": ["zoom out", () => zoomAtPoint(facts, state, active(), 0.8)],
    "=": ["whole plane", () => setZoom(active(), null)],
    "?": ["this help", () => byId("help").showModal()],
  };
}

const MOUSE = {
  Wheel: "slices; with Ctrl: zoom",
  "Left button": "go to a point in all planes",
  "Right button, drag": "level (up, down) and width (left, right) of the window",
  "Shift + drag": "move the picture; double click: whole plane",
  Tab: "goes through controls and panes; keys act on the pane last used",
};
const SHOWN = { ArrowUp: "↑", ArrowDown: "↓", PageUp: "Page ↑", PageDown: "Page ↓" };

export function buildKeys(facts, state, panes) {
  let last = panes[0];
  for (const pane of panes) {
    for (const kind of ["focus", "pointerenter"]) pane.element.addEventListener(kind, () => { last = pane; });
  }
  const keys = table(facts, state, () => last);
  const list = byId("help-keys");
  const said = Object.entries(keys).map(([key, [words]]) => [SHOWN[key] ?? key, words]);
  const text = (tag, textContent) => Object.assign(document.createElement(tag), { textContent });
  for (const [key, words] of [...said, ...Object.entries(MOUSE)]) list.append(text("dt", key), text("dd", words));
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open || taken(event)) return;
    const found = keys[event.key];
    if (!found) return;
    event.preventDefault();
    found[1]();
  });
}

/** Whether the element with the focus needs this key for itself. */
function taken(event) {
  const element = event.target;
  if (element.matches('select, input[type="number"], input[type="range"]')) return true;
  return element.matches('input[type="radio"], .wide') && /^(Arrow|Page|Home)/.test(event.key);
}

function nextWindow(facts, state) {
  const image = windowed(facts, state);
  const presets = Object.values(presetsOf(image));
  const [low, high] = state.get("windows")[image.name];
  const rank = presets.findIndex((preset) => isWindow(preset, low, high));
  const [level, width] = presets[(rank + 1) % presets.length];
  setWindow(facts, state, image.name, [level - width / 2, level + width / 2]);
}

function zoomAtPoint(facts, state, pane, factor) {
  const view = facts.views[pane.view];
  const point = state.get("point");
  zoomBy(pane, factor, [point[view.x_axis], point[view.y_axis]]);
}
