// The DVHs of the shown structures on both arms; the nearest curve answers to the mouse.

const NEAR_PX = 14;
const BORDERS = { min_border_left: 46, min_border_right: 10, min_border_top: 8, min_border_bottom: 40 };
const INK = {
  axis_label_text_color: "#e8ecef", major_label_text_color: "#a9b4bc", axis_line_color: "#5a6670",
  major_tick_line_color: "#5a6670", minor_tick_line_color: null, axis_label_text_font_style: "normal",
};
const NOTHING = { xs: [], ys: [], colour: [], width: [], dash: [], alpha: [] };

export class Dvh {
  constructor(element, facts, state) {
    Object.assign(this, { element, facts, state });
    this.words = document.getElementById("dvh-words");
    const { dose } = facts.dvh;
    this.end = dose.at(-1) || 1;
    this.figure = Bokeh.Plotting.figure({
      x_range: new Bokeh.Range1d({ start: 0, end: this.end }), y_range: new Bokeh.Range1d({ start: 0, end: 102 }),
      tools: [], toolbar_location: null, width: 100, height: 100, ...BORDERS,
      background_fill_color: "#161b1f", border_fill_color: "#161b1f", outline_line_color: null,
      x_axis_label: `dose [${facts.doses?.unit ?? "Gy"}]`, y_axis_label: "volume [%]",
    });
    for (const axis of this.figure.axes) axis.setv(INK);
    for (const grid of this.figure.grids) grid.setv({ grid_line_color: "#2b353c" });
    this.band = new Bokeh.ColumnDataSource({ data: { x: [], low: [], high: [] } });
    const field = (name) => ({ field: name });
    const ends = { x: field("x"), y1: field("low"), y2: field("high") };
    this.area = this.figure.varea({ ...ends, fill_alpha: 0.3, source: this.band });
    this.source = new Bokeh.ColumnDataSource({ data: NOTHING });
    this.figure.multi_line({
      xs: field("xs"), ys: field("ys"), line_color: field("colour"), line_width: field("width"),
      line_dash: field("dash"), line_alpha: field("alpha"), source: this.source,
    });
  }

  async build() {
    this.element.hidden = Object.keys(this.facts.dvh.curves).length === 0;
    this.view = await Bokeh.Plotting.show(this.figure, this.element.querySelector(".plot"));
    new ResizeObserver(() => this.fit()).observe(this.element);
    this.element.addEventListener("pointermove", (event) => this.point(event));
    this.element.addEventListener("pointerleave", () => {
      this.under = null;
      this.state.set({ near: null });
      this.write();
    });
    this.element.addEventListener("click", () => {
      const name = this.under?.name ?? null;
      this.state.set({ selected: name === this.state.get("selected") ? null : name });
    });
    this.state.listen((changed) => {
      if (["shown", "arm", "other", "near", "selected"].some((name) => changed.has(name))) this.draw();
    });
    this.fit();
    this.draw();
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width && height) this.figure.setv({ width, height });
  }

  /** The curves that are drawn: {name, arm, ys, colour, dash}. */
  get curves() {
    const { facts, state } = this;
    const [first, second] = [state.get("arm"), state.get("other")];
    const strong = new Set([state.get("near"), state.get("selected")]);
    const made = [];
    for (const item of facts.structures) {
      if (!state.get("shown").has(item.name) && !strong.has(item.name)) continue;
      for (const arm of new Set([second, first])) {
        const ys = facts.dvh.curves[arm]?.[item.name];
        if (ys) made.push({ name: item.name, arm, ys, colour: item.colour, dash: arm === first ? [] : [5, 3] });
      }
    }
    return made;
  }

  draw() {
    const { facts, state } = this;
    const strong = new Set([state.get("near"), state.get("selected")].filter(Boolean));
    const curves = this.curves;
    this.source.data = {
      xs: curves.map(() => facts.dvh.dose), ys: curves.map((curve) => curve.ys),
      colour: curves.map((curve) => curve.colour), dash: curves.map((curve) => curve.dash),
      width: curves.map((curve) => (strong.has(curve.name) ? 3.5 : 1.6)),
      alpha: curves.map((curve) => (strong.size === 0 || strong.has(curve.name) ? 1 : 0.35)),
    };
    this.drawBand([...strong][0]);
    this.write();
  }

  drawBand(name) {
    const { facts, state } = this;
    const arms = [state.get("arm"), state.get("other")];
    this.banded = name ? arms.find((arm) => facts.dvh.bands[arm]?.[name]) : undefined;
    const band = this.banded && facts.dvh.bands[this.banded][name];
    this.band.data = band ? { x: facts.dvh.dose, low: band.low, high: band.high } : { x: [], low: [], high: [] };
    const item = facts.structures.find((one) => one.name === name);
    if (item) this.area.glyph.fill_color = item.colour;
    this.what = band ? `Shaded, on ${this.banded}: ${band.what}.` : "";
  }

  /** Find the curve nearest to the mouse. */
  point(event) {
    const frame = this.view?.frame?.bbox ?? null;
    const box = this.element.getBoundingClientRect();
    if (!frame) return;
    const [px, py] = [event.clientX - box.left - frame.left, event.clientY - box.top - frame.top];
    const dose = (px / frame.width) * this.end;
    const last = this.facts.dvh.dose.length - 1;
    const n = Math.min(Math.max(Math.round((dose / this.end) * last), 0), last);
    let best = null;
    for (const curve of this.curves) {
      const away = Math.abs(frame.height * (1 - curve.ys[n] / 102) - py);
      if (away < NEAR_PX && (!best || away < best.away)) best = { ...curve, away, n };
    }
    this.under = best;
    this.state.set({ near: best?.name ?? null });
    this.write();
  }

  write() {
    const { facts, state, under } = this;
    const [first, second] = [state.get("arm"), state.get("other")];
    if (under) {
      const dose = facts.dvh.dose[under.n];
      const values = [...new Set([first, second])].filter((arm) => facts.dvh.curves[arm]?.[under.name]);
      const words = values.map((arm) => `${arm} ${facts.dvh.curves[arm][under.name][under.n].toFixed(1)} %`);
      this.words.textContent = `${under.name}: ${dose.toFixed(1)} ${facts.doses.unit} or more in ${words.join(", ")}. ${this.what}`;
    } else if (Object.keys(facts.dvh.curves).length === 0) this.words.textContent = "No dose-volume curve in this run.";
    else {
      const lines = first === second || !second ? `Lines: ${first}.` : `Solid: ${first}; dashed: ${second}.`;
      this.words.textContent = `${lines} ${this.what || "Point at a curve for its values, click to select its structure."}`;
    }
  }
}
