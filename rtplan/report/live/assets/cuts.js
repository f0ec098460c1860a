// Planes from the server: asked for once, kept for a while, the neighbours fetched ahead.

const MOST_KEPT = 48;
const kept = new Map();

/** Return a plane: {x, y, rows, columns, layers: {name: Float32Array}, outlines, isodoses}. */
export function cut(view, k, layers) {
  const key = `${view}/${k}/${layers.join(",")}`;
  if (!kept.has(key)) {
    kept.set(key, fetched(view, k, layers).catch((wrong) => {
      kept.delete(key);
      throw wrong;
    }));
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(key);
}

async function fetched(view, k, layers) {
  const asked = new URLSearchParams({ view, k, layers: layers.join(",") });
  const answer = await fetch(`/cut?${asked}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return unpacked(await answer.arrayBuffer());
}

/** Read what rtplan.report.live.cut.packed wrote. */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const [rows, columns] = head.shape;
  const layers = {};
  head.layers.forEach((name, n) => {
    layers[name] = new Float32Array(buffer, 4 + length + 4 * n * rows * columns, rows * columns);
  });
  return { ...head, rows, columns, layers };
}

/** Value of a layer at a place, mm along the display axes; NaN outside. */
export function valueAt(plane, name, x, y) {
  const layer = plane.layers[name];
  const column = Math.floor(((x - plane.x[0]) / (plane.x[1] - plane.x[0])) * plane.columns);
  const row = Math.floor(((y - plane.y[0]) / (plane.y[1] - plane.y[0])) * plane.rows);
  const inside = column >= 0 && row >= 0 && column < plane.columns && row < plane.rows;
  return layer && inside ? layer[row * plane.columns + column] : NaN;
}
