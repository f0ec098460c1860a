// The controls at the left: every one shows the state and changes it.

import { overlayLook } from "./colours.js";
import { imageOf, setWindow, spreadArm } from "./state.js";

const byId = (id) => document.getElementById(id);
/** Windows for CT by name: level and width, HU. */
const WINDOWS_HU = { "soft tissue": [40, 400], pelvis: [30, 250], bone: [400, 1800], all: [0, 2400] };
const OVERLAYS = { none: "none", dose: "dose", difference: "difference", spread: "uncertainty" };

function option(value, words = value, title = "") {
  return Object.assign(new Option(words, value), { title });
}

/** The presets of an image: its own window first. */
export function presetsOf(image) {
  const [low, high] = image.window;
  const own = { "as in report": [(low + high) / 2, high - low] };
  return image.unit === "HU" ? { ...own, ...WINDOWS_HU } : own;
}

/** Whether level and width are those of a window from low to high. */
export function isWindow([level, width], low, high) {
  return Math.abs(level - (low + high) / 2) < 0.5 && Math.abs(width - (high - low)) < 0.5;
}

export function buildControls(facts, state) {
  const images = facts.images.map((image) => option(image.name, image.name, image.words));
  byId("image").append(...images);
  byId("second").append(option("", "nothing"), ...images.map((item) => item.cloneNode(true)));
  byId("subtitle").textContent = facts.protocol;
  const names = { image: "image", second: "second", view: "view", arm: "arm", other: "other", overlay: "overlay" };
  for (const [id, name] of Object.entries(names)) {
    byId(id).addEventListener("change", (event) => state.set({ [name]: event.target.value }));
  }
  for (const [id, name] of [["blend", "blend"], ["opacity", "opacity"]]) {
    byId(id).addEventListener("input", (event) => state.set({ [name]: event.target.value / 100 }));
  }
  byId("isodoses").addEventListener("change", (event) => state.set({ isodoses: event.target.checked }));
  for (const radio of document.getElementsByName("layout")) {
    radio.addEventListener("change", () => radio.checked && state.set({ layout: radio.value }));
  }
  document.querySelector("form.controls").addEventListener("submit", (event) => event.preventDefault());
  buildWindow(facts, state);
  buildDoses(facts);
  state.listen(() => reflect(facts, state));
  reflect(facts, state);
}

/** The image that the window controls speak of. */
export function windowed(facts, state) {
  const name = state.get("layout") === "arms" ? imageOf(facts, state, state.get("arm")) : state.get("image");
  return facts.images.find((image) => image.name === name);
}

function buildWindow(facts, state) {
  const put = (level, width) => {
    setWindow(facts, state, windowed(facts, state).name, [level - width / 2, level + width / 2]);
  };
  byId("preset").addEventListener("change", (event) => {
    const found = presetsOf(windowed(facts, state))[event.target.value];
    if (found) put(...found);
  });
  for (const id of ["level", "width"]) {
    byId(id).addEventListener("change", () => put(byId("level").valueAsNumber || 0, byId("width").valueAsNumber || 1));
  }
}

function buildDoses(facts) {
  const doses = facts.doses;
  byId("dose-controls").hidden = !doses;
  byId("arms-choice").hidden = !doses || doses.arms.length < 2;
  if (!doses) return;
  for (const id of ["arm", "other"]) {
    byId(id).append(...doses.arms.map((arm) => option(arm, arm, facts.arms[arm])));
  }
  const there = { spread: Object.keys(doses.spreads).length > 0, difference: doses.arms.length > 1 };
  const offered = Object.keys(OVERLAYS).filter((kind) => there[kind] ?? true);
  byId("overlay").append(...offered.map((kind) => option(kind, OVERLAYS[kind])));
  byId("isodose-key").append(...doses.levels.map((level) => {
    const item = document.createElement("li");
    item.style.setProperty("--line", level.colour);
    item.textContent = level.words;
    return item;
  }));
  byId("dose-base").textContent = `100 % is ${doses.base}.`;
  byId("withheld").hidden = !doses.withheld;
  byId("withheld").textContent = doses.withheld ? `No dose in Gy, no goals: ${doses.withheld}` : "";
}

function reflect(facts, state) {
  document.body.classList.toggle("arms", state.get("layout") === "arms");
  document.body.classList.toggle("planes", state.get("layout") === "planes");
  byId("panes").className = `panes ${state.get("layout")}`;
  for (const radio of document.getElementsByName("layout")) radio.checked = radio.value === state.get("layout");
  for (const id of ["image", "second", "view", "arm", "other", "overlay"]) byId(id).value = state.get(id);
  for (const id of ["image", "second", "arm", "other"]) {
    byId(id).title = byId(id).selectedOptions[0]?.title ?? "";
  }
  for (const id of ["blend", "opacity"]) byId(id).value = Math.round(100 * state.get(id));
  byId("blend").disabled = !state.get("second");
  byId("isodoses").checked = state.get("isodoses");
  reflectWindow(facts, state);
  reflectScale(facts, state);
}

function reflectWindow(facts, state) {
  const image = windowed(facts, state);
  const [low, high] = state.get("windows")[image.name];
  byId("level").value = Math.round((low + high) / 2);
  byId("width").value = Math.round(high - low);
  const presets = presetsOf(image);
  byId("preset").replaceChildren(...Object.keys(presets).map((name) => option(name)), option("", "own"));
  byId("preset").value = Object.keys(presets).find((name) => isWindow(presets[name], low, high)) ?? "";
}

/** The keys of the colours: of the overlay, and with two arms of their difference. */
function reflectScale(facts, state) {
  const kinds = { scale: state.get("overlay"), "scale-difference": "none" };
  if (state.get("layout") === "arms") {
    kinds["scale-difference"] = "difference";
    if (kinds.scale === "difference") kinds.scale = "none";
  }
  for (const [id, kind] of Object.entries(kinds)) {
    byId(id).hidden = !facts.doses || kind === "none";
    if (!byId(id).hidden) fillScale(byId(id), overlayLook(facts, kind, spreadArm(facts, [state.get("arm"), state.get("other")])));
  }
}

function fillScale(element, look) {
  const [from, bar, to] = element.children;
  const short = (value) => `${Number(Math.abs(value).toFixed(1))}`;
  from.textContent = `${look.low < 0 ? "−" : ""}${short(look.low)}`;
  to.textContent = `${look.low < 0 ? "+" : ""}${short(look.high)} ${look.unit}`;
  bar.style.background = `linear-gradient(to right, ${look.palette.filter((_, n) => n % 16 === 0).join(", ")})`;
}
