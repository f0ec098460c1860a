// Wheel and mouse on a pane: scroll, point, window and level, shift, zoom.

import { moved, setWindow } from "./state.js";

const NOTCH = 60;
const MOST_ZOOM = 12;

/** Let a pane follow the wheel and the mouse. */
export function followMouse(pane) {
  const { element, facts, state } = pane;
  let turned = 0;
  let drag = null;

  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      zoomBy(pane, event.deltaY < 0 ? 1.25 : 0.8, pane.placeOf(event));
      return;
    }
    turned += event.deltaMode === 0 ? event.deltaY : event.deltaY * NOTCH;
    const notches = Math.trunc(turned / NOTCH);
    if (!notches) return;
    turned -= notches * NOTCH;
    state.set({ point: moved(facts, pane.view, state.get("point"), -notches) });
  }, { passive: false });

  element.addEventListener("pointerdown", (event) => {
    if (!pane.plane) return;
    const kind = event.button === 2 ? "window" : event.button === 1 || event.shiftKey ? "shift" : "point";
    drag = { kind, x: event.clientX, y: event.clientY, place: pane.placeOf(event) };
    element.setPointerCapture(event.pointerId);
    if (kind === "point") pointAt(pane, drag.place);
  });
  element.addEventListener("pointermove", (event) => {
    if (!pane.plane) return;
    pane.under = pane.placeOf(event);
    pane.words.values.textContent = pane.valueWords(pane.under);
    if (!drag) return;
    const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
    if (drag.kind === "point") pointAt(pane, pane.under);
    if (drag.kind === "window") windowBy(pane, right, down);
    if (drag.kind === "shift") shiftBy(pane, right, down);
    Object.assign(drag, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { drag = null; });
  element.addEventListener("pointerleave", () => {
    pane.under = null;
    if (pane.plane) pane.words.values.textContent = pane.valueWords(null);
  });
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", () => setZoom(pane, null));
}

function pointAt(pane, [x, y]) {
  const view = pane.facts.views[pane.view];
  const point = [...pane.state.get("point")];
  const inside = (value, [low, high]) => Math.min(Math.max(value, low), high);
  point[view.x_axis] = inside(x, pane.plane.x);
  point[view.y_axis] = inside(y, pane.plane.y);
  point[view.axis] = view.first + pane.shown.k * view.step;
  pane.state.set({ point });
}

/** Level with up and down, width with left and right, of the image in the pane. */
function windowBy(pane, right, down) {
  const name = pane.shown.content.base;
  const [low, high] = pane.state.get("windows")[name];
  const width = Math.max((high - low) * (1 + right / 200), 1);
  const level = 0.5 * (low + high) + ((high - low) * down) / 300;
  setWindow(pane.facts, pane.state, name, [level - width / 2, level + width / 2]);
}

function shiftBy(pane, right, down) {
  const [x, y, mm] = pane.sight;
  const sign = pane.facts.views[pane.view].y_down ? 1 : -1;
  const zoom = pane.state.get("zoom")[pane.view];
  setZoom(pane, { x: x - right * mm, y: y - sign * down * mm, scale: zoom?.scale ?? 1 });
}

/** Zoom so that a place, mm, stays where it is. */
export function zoomBy(pane, factor, [px, py]) {
  const [x, y] = pane.sight;
  const old = pane.state.get("zoom")[pane.view]?.scale ?? 1;
  const scale = Math.min(Math.max(old * factor, 1), MOST_ZOOM);
  if (scale === 1) return setZoom(pane, null);
  return setZoom(pane, { x: px + ((x - px) * old) / scale, y: py + ((y - py) * old) / scale, scale });
}

export function setZoom(pane, zoom) {
  pane.state.set({ zoom: { ...pane.state.get("zoom"), [pane.view]: zoom } });
}
