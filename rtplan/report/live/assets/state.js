// What is shown now: one plain object, and those who want to know when it changes.

export class State {
  constructor(values) {
    this.values = values;
    this.listeners = [];
    this.due = false;
  }

  get(name) {
    return this.values[name];
  }

  /** Change some values; listeners hear once per frame, with the set of names that changed. */
  set(changes) {
    this.changed ??= new Set();
    for (const [name, value] of Object.entries(changes)) {
      if (this.values[name] !== value) this.changed.add(name);
      this.values[name] = value;
    }
    if (this.due || this.changed.size === 0) return;
    this.due = true;
    requestAnimationFrame(() => {
      const changed = this.changed;
      this.due = false;
      this.changed = new Set();
      for (const listener of this.listeners) listener(changed);
    });
  }

  listen(listener) {
    this.listeners.push(listener);
  }
}

/** The state in which the page opens. */
export function opening(facts) {
  const names = facts.images.map((image) => image.name);
  const arms = facts.doses ? facts.doses.arms : [];
  const main = names.includes("CT") ? "CT" : names.includes("SynCT") ? "SynCT" : names[0];
  const arm = arms.includes(main) ? main : arms[0] ?? "";
  const last = arms.includes("SynCT") && arm !== "SynCT" ? "SynCT" : arms.find((name) => name !== arm) ?? "";
  return new State({
    layout: "planes",
    view: "axial",
    point: facts.centre,
    image: main,
    second: "",
    blend: 0.5,
    windows: Object.fromEntries(facts.images.map((image) => [image.name, image.window])),
    arm,
    other: last,
    overlay: arm ? "dose" : "none",
    opacity: 0.45,
    isodoses: true,
    outlines: true,
    shown: new Set(facts.structures.filter((item) => item.shown).map((item) => item.name)),
    selected: null,
    near: null,
    zoom: { axial: null, coronal: null, sagittal: null },
  });
}

/** Slice number of a view at the shown point. */
export function sliceAt(facts, view, point) {
  const found = facts.views[view];
  const k = Math.round((point[found.axis] - found.first) / found.step);
  return Math.min(Math.max(k, 0), found.count - 1);
}

/** The point moved by some slices along a view's axis; it stays inside the image. */
export function moved(facts, view, point, slices) {
  const found = facts.views[view];
  const k = Math.min(Math.max(sliceAt(facts, view, point) + slices, 0), found.count - 1);
  const next = [...point];
  next[found.axis] = found.first + k * found.step;
  return next;
}

/** The arm whose dose has a spread: one of these, else any; undefined without. */
export function spreadArm(facts, arms) {
  const known = facts.doses?.spreads ?? {};
  return arms.find((arm) => arm in known) ?? Object.keys(known)[0];
}

/** Change the window of an image; all in HU share theirs, so that arms are compared in one. */
export function setWindow(facts, state, name, window) {
  const unitOf = (one) => facts.images.find((image) => image.name === one).unit;
  const same = facts.images.filter((image) => image.name === name || (image.unit && image.unit === unitOf(name)));
  const changed = Object.fromEntries(same.map((image) => [image.name, window]));
  state.set({ windows: { ...state.get("windows"), ...changed } });
}

/** The image on which a dose arm is shown: its own density image, where it is there. */
export function imageOf(facts, state, arm) {
  return facts.images.some((image) => image.name === arm) ? arm : state.get("image");
}
