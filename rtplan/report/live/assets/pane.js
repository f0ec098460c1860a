// One pane: a plane with what lies over it, its words, and what wheel and mouse do there.

import { overlayLook } from "./colours.js";
import { cut, valueAt } from "./cuts.js";
import { followMouse } from "./mouse.js";
import { Picture } from "./pictures.js";
import { imageOf, sliceAt, spreadArm } from "./state.js";

const VIEWS = ["axial", "coronal", "sagittal"];
const AXES = ["LR", "PA", "SI"];
const WORDS = ["title", "place", "values", "left", "right", "top", "bottom", "ruler"];
/** A cross does not hide what it points at: this much of it is left out, mm. */
const GAP_MM = 6;
const RULERS_MM = [100, 50, 20, 10, 5];

/** A place on a display axis in the patient's words: "L 12.5". */
export function placeWords(axis, value) {
  const [plus, minus] = AXES[axis];
  return `${value < 0 ? minus : plus} ${Math.abs(value).toFixed(1)}`;
}

export class Pane {
  constructor(element, rank, facts, state) {
    Object.assign(this, { element, rank, facts, state });
    this.words = Object.fromEntries(WORDS.map((name) => [name, element.querySelector(`.${name}`)]));
    this.picture = new Picture(element.querySelector(".plot"));
  }

  async build() {
    await this.picture.show();
    new ResizeObserver(() => this.fit()).observe(this.element);
    followMouse(this);
  }

  get view() {
    return this.state.get("layout") === "arms" ? this.state.get("view") : VIEWS[this.rank];
  }

  /** What this pane shows: arm, images, overlay. */
  get content() {
    const { facts, state } = this;
    if (state.get("layout") === "planes") {
      const [arm, overlay] = [state.get("arm"), state.get("overlay")];
      return { arm, overlay, base: state.get("image"), lines: arm };
    }
    const [arm, other] = [state.get("arm"), state.get("other")];
    if (this.rank === 2) return { arm, overlay: "difference", base: imageOf(facts, state, arm), lines: "" };
    const mine = this.rank === 0 ? arm : other;
    const overlay = state.get("overlay") === "difference" ? "none" : state.get("overlay");
    return { arm: mine, overlay, base: imageOf(facts, state, mine), lines: mine };
  }

  overlayLayer({ arm, overlay }) {
    const { facts, state } = this;
    if (overlay === "dose" && arm) return `dose:${arm}`;
    if (overlay === "spread") {
      const known = spreadArm(facts, state.get("layout") === "planes" ? [arm, state.get("other")] : [arm]);
      return known && (state.get("layout") === "planes" || known === arm) ? `spread:${known}` : null;
    }
    if (overlay !== "difference") return null;
    const other = state.get("other");
    return other && other !== state.get("arm") ? `difference:${other}-${state.get("arm")}` : null;
  }

  async update(changed) {
    if (changed && [...changed].every((name) => name === "near" || name === "selected")) {
      if (this.plane) this.drawOutlines();
      return;
    }
    const content = this.content;
    const overlay = this.overlayLayer(content);
    const second = this.state.get("second");
    const dose = content.lines && `dose:${content.lines}`;
    const layers = [...new Set([`image:${content.base}`, second && `image:${second}`, dose, overlay].filter(Boolean))].sort();
    const k = sliceAt(this.facts, this.view, this.state.get("point"));
    const wanted = { view: this.view, k, layers, content, overlay };
    if (this.busy) {
      this.next = wanted;
      return;
    }
    this.busy = true;
    try {
      for (let ask = wanted; ask; ask = this.next) {
        this.next = null;
        await this.load(ask);
      }
    } catch (wrong) {
      const told = `No picture: ${wrong.message}. Has rtplan view been stopped?`;
      document.getElementById("status").textContent = told;
    } finally {
      this.busy = false;
    }
  }

  async load(ask) {
    const plane = await cut(ask.view, ask.k, ask.layers);
    Object.assign(this, { plane, shown: ask });
    this.draw();
    const { count } = this.facts.views[ask.view];
    for (const k of [ask.k + 1, ask.k - 1]) {
      if (k >= 0 && k < count) cut(ask.view, k, ask.layers).catch(() => {});
    }
  }

  draw() {
    const { picture, plane, shown, state, facts } = this;
    const [low, high] = state.get("windows")[shown.content.base];
    picture.image("base", plane, `image:${shown.content.base}`);
    picture.look("base", { low, high });
    const second = state.get("second");
    picture.image("second", plane, second && `image:${second}`);
    if (second) {
      const [from, to] = state.get("windows")[second];
      picture.look("second", { low: from, high: to });
      picture.strength("second", state.get("blend"));
    }
    picture.image("overlay", plane, shown.overlay);
    if (shown.overlay) {
      const [kind] = shown.overlay.split(":");
      const look = overlayLook(facts, ...shown.overlay.split(":"));
      picture.look("overlay", { ...look, hollow: look.clear });
      picture.strength("overlay", kind !== "dose" ? Math.sqrt(state.get("opacity")) : state.get("opacity"));
    }
    this.drawOutlines();
    this.drawIsodoses();
    this.drawCross();
    this.fit();
    this.write();
  }

  drawOutlines() {
    const { facts, state, plane } = this;
    const lines = [];
    if (state.get("outlines")) {
      for (const item of facts.structures) {
        if (!state.get("shown").has(item.name)) continue;
        const strong = item.name === state.get("near") || item.name === state.get("selected");
        for (const [xs, ys] of plane.outlines[item.name] ?? []) {
          lines.push({ xs, ys, colour: item.colour, width: strong ? 4 : 1.7, dash: item.dash });
        }
      }
    }
    this.picture.draw("outlines", lines);
  }

  drawIsodoses() {
    const { facts, state, plane, shown } = this;
    const drawn = state.get("isodoses") && shown.content.lines;
    const levels = (drawn && plane.isodoses[`dose:${shown.content.lines}`]) || [];
    const lines = levels.flatMap((found, rank) =>
      found.map(([xs, ys]) => ({ xs, ys, colour: facts.doses.levels[rank].colour, width: 1.2, dash: [] })),
    );
    this.picture.draw("isodoses", lines);
  }

  drawCross() {
    const { facts, state, plane } = this;
    const view = facts.views[this.shown.view];
    const point = state.get("point");
    const [x, y] = [point[view.x_axis], point[view.y_axis]];
    const [x0, x1] = plane.x, [y0, y1] = plane.y;
    const line = (xs, ys) => ({ xs, ys, colour: "rgba(255,255,255,0.55)", width: 1, dash: [] });
    this.picture.draw("cross", [
      line([x0, x - GAP_MM], [y, y]), line([x + GAP_MM, x1], [y, y]),
      line([x, x], [y0, y - GAP_MM]), line([x, x], [y + GAP_MM, y1]),
    ]);
  }

  /** What is seen, mm: [centre x, centre y, mm per pixel]. */
  get sight() {
    const view = this.facts.views[this.view];
    const { clientWidth: width, clientHeight: height } = this.element;
    const plane = this.plane;
    const whole = Math.max(view.width / width, view.height / height);
    const zoom = this.state.get("zoom")[this.view];
    if (zoom) return [zoom.x, zoom.y, whole / zoom.scale];
    return [0.5 * (plane.x[0] + plane.x[1]), 0.5 * (plane.y[0] + plane.y[1]), whole];
  }

  /** Fill the pane with the plane, in one scale both ways. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height || !this.plane) return;
    const [x, y, mm] = this.sight;
    const [half, tall] = [0.5 * width * mm, 0.5 * height * mm];
    this.picture.size(width, height);
    const down = this.facts.views[this.view].y_down;
    this.picture.range(x - half, x + half, down ? y + tall : y - tall, down ? y - tall : y + tall);
    const ruler = RULERS_MM.find((length) => length / mm < 0.3 * width) ?? 5;
    this.words.ruler.style.width = `${ruler / mm}px`;
    this.words.ruler.firstElementChild.textContent = ruler >= 10 ? `${ruler / 10} cm` : `${ruler} mm`;
  }

  /** Place under the mouse, mm along the display axes of this view. */
  placeOf(event) {
    const box = this.element.getBoundingClientRect();
    const [x, y, mm] = this.sight;
    const right = (event.clientX - box.left - 0.5 * box.width) * mm;
    const down = (event.clientY - box.top - 0.5 * box.height) * mm;
    return [x + right, y + (this.facts.views[this.view].y_down ? down : -down)];
  }

  write() {
    const { facts, shown, words, plane } = this;
    const view = facts.views[shown.view];
    const at = view.first + shown.k * view.step;
    const tilt = view.tilt >= 0.5 ? `, tilted ${view.tilt}°` : "";
    const over = this.overlayWords();
    words.title.textContent = `${shown.view}${tilt} · ${this.imageWords()}${over ? `\n${over}` : ""}`;
    words.place.textContent = `${placeWords(view.axis, at)} mm\nslice ${shown.k + 1} of ${view.count}`;
    ["left", "right", "top", "bottom"].forEach((side, n) => { words[side].textContent = view.letters[n]; });
    words.values.textContent = this.valueWords(this.under);
    const outlined = Object.keys(plane.outlines).filter((name) => this.state.get("shown").has(name)).join(", ");
    const said = `${words.title.textContent}, ${words.place.textContent}. Outlined: ${outlined || "nothing"}.`;
    this.element.setAttribute("aria-label", said);
  }

  imageWords() {
    const second = this.state.get("second");
    const blend = Math.round(100 * this.state.get("blend"));
    return second ? `${this.shown.content.base} with ${blend} % ${second}` : this.shown.content.base;
  }

  overlayWords() {
    const [kind, of] = (this.shown.overlay ?? "").split(":");
    if (kind === "dose") return `dose on ${of}`;
    if (kind === "spread") return `SD of the dose on ${of}`;
    if (kind === "difference") return `dose: ${of.replace("-", " − ")}`;
    return this.shown.content.lines && this.state.get("isodoses") ? `isodoses on ${this.shown.content.lines}` : "";
  }

  /** What lies under the mouse, else at the cross. */
  valueWords(place) {
    const { facts, state, shown, plane } = this;
    const view = facts.views[shown.view];
    const point = state.get("point");
    const [x, y] = place ?? [point[view.x_axis], point[view.y_axis]];
    const here = [...point];
    here[view.axis] = view.first + shown.k * view.step;
    here[view.x_axis] = x;
    here[view.y_axis] = y;
    const lines = [here.map((value, axis) => placeWords(axis, value)).join("  ") + " mm"];
    for (const layer of shown.layers) {
      const value = valueAt(plane, layer, x, y);
      if (Number.isNaN(value)) continue;
      const [kind, name] = layer.split(":");
      if (kind === "image") {
        const unit = facts.images.find((image) => image.name === name).unit;
        lines.push(`${name} ${value.toFixed(0)}${unit && ` ${unit}`}`);
      } else if (kind === "dose") lines.push(`dose ${name} ${value.toFixed(2)} ${facts.doses.unit}`);
      else if (kind === "spread") lines.push(`SD ${value.toFixed(2)} Gy`);
      else lines.push(`${name.replace("-", " − ")} ${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)} Gy`);
    }
    return lines.join("\n");
  }
}
