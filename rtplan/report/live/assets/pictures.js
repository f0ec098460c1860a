// One figure of BokehJS with images, lines and nothing else: no axes, no tools; filled from planes.

import { clear, greys } from "./colours.js";

const { ndarray } = Bokeh.require("core/util/ndarray");
const NO_IMAGE = { image: [], x: [], y: [], dw: [], dh: [] };
const NO_LINES = { xs: [], ys: [], colour: [], width: [], dash: [] };

/** Figure with three images (base, second, overlay) and three sets of lines (outlines, isodoses, cross). */
export class Picture {
  constructor(element) {
    this.element = element;
    this.x = new Bokeh.Range1d({ start: 0, end: 1 });
    this.y = new Bokeh.Range1d({ start: 0, end: 1 });
    this.figure = Bokeh.Plotting.figure({
      x_range: this.x, y_range: this.y, x_axis_type: null, y_axis_type: null, tools: [], toolbar_location: null,
      min_border: 0, width: 10, height: 10, outline_line_color: null, background_fill_color: "black",
      border_fill_color: "black", match_aspect: false,
    });
    this.images = {};
    for (const name of ["base", "second", "overlay"]) this.images[name] = this.addImage();
    this.lines = {};
    for (const name of ["isodoses", "outlines", "cross"]) this.lines[name] = this.addLines();
  }

  addImage() {
    const source = new Bokeh.ColumnDataSource({ data: NO_IMAGE });
    const mapper = new Bokeh.LinearColorMapper({ palette: greys(), low: 0, high: 1, nan_color: clear });
    const field = (name) => ({ field: name });
    const renderer = this.figure.image({
      image: field("image"), x: field("x"), y: field("y"), dw: field("dw"), dh: field("dh"), source, color_mapper: mapper,
    });
    return { source, mapper, glyph: renderer.glyph, renderer };
  }

  addLines() {
    const source = new Bokeh.ColumnDataSource({ data: NO_LINES });
    const field = (name) => ({ field: name });
    this.figure.multi_line({
      xs: field("xs"), ys: field("ys"), line_color: field("colour"), line_width: field("width"),
      line_dash: field("dash"), source,
    });
    return source;
  }

  async show() {
    this.view = await Bokeh.Plotting.show(this.figure, this.element);
  }

  size(width, height) {
    if (this.figure.width !== width || this.figure.height !== height) this.figure.setv({ width, height });
  }

  range(x0, x1, y0, y1) {
    this.x.setv({ start: x0, end: x1 });
    this.y.setv({ start: y0, end: y1 });
  }

  /** Put one layer of a plane into an image; null takes it away. */
  image(name, plane, layer) {
    const item = this.images[name];
    const pixels = plane && layer ? plane.layers[layer] : undefined;
    if (item.pixels === pixels) return;
    item.pixels = pixels;
    if (!pixels) {
      item.source.data = NO_IMAGE;
      return;
    }
    const image = ndarray(pixels, { dtype: "float32", shape: [plane.rows, plane.columns] });
    const [x0, x1] = plane.x, [y0, y1] = plane.y;
    item.source.data = { image: [image], x: [x0], y: [y0], dw: [x1 - x0], dh: [y1 - y0] };
  }

  /** Say how an image is coloured: palette, ends, and whether what is below is clear. */
  look(name, { palette, low, high, hollow = false }) {
    const colours = { low_color: hollow ? clear : null };
    this.images[name].mapper.setv({ ...(palette ? { palette } : {}), low, high, ...colours });
  }

  strength(name, alpha) {
    this.images[name].glyph.global_alpha = alpha;
  }

  /** Draw lines: a list of {xs, ys, colour, width, dash}. */
  draw(name, lines) {
    const data = { xs: [], ys: [], colour: [], width: [], dash: [] };
    for (const line of lines) {
      for (const key of Object.keys(data)) data[key].push(line[key]);
    }
    this.lines[name].data = data;
  }
}
