// Colours of images and of what lies over them.

const GREYS = Array.from({ length: 256 }, (_, n) => `rgb(${n},${n},${n})`);
const CLEAR = "rgba(0,0,0,0)";

/** A colour of the library (a number, rrggbbaa) as a text. */
const asText = (colour) => (typeof colour === "number" ? `#${(colour >>> 8).toString(16).padStart(6, "0")}` : colour);

/** One colour, clearer the less there is: `share` from 0 to 1. */
function clearer(colour, share) {
  const alpha = share < 0.04 ? 0 : Math.round(255 * Math.min(0.25 + share, 1));
  return `${colour}${alpha.toString(16).padStart(2, "0")}`;
}

const SPREADS = Array.from({ length: 255 }, (_, n) => clearer("#ff8c1a", n / 254));
/** Less is blue, more is orange. */
const DIFFERENCES = Array.from({ length: 255 }, (_, n) => clearer(n < 127 ? "#4da3ff" : "#ff8c1a", Math.abs(n - 127) / 127));

export function greys() {
  return GREYS;
}

/** Palette, ends and unit of an overlay; what is below `from` is not coloured. */
export function overlayLook(facts, kind, arm) {
  const doses = facts.doses;
  if (kind === "dose") {
    return { palette: Bokeh.Palettes.Turbo256.map(asText),
      low: 0.1 * doses.highest, high: doses.highest, unit: doses.unit, clear: true };
  }
  if (kind === "spread") {
    return { palette: SPREADS, low: 0, high: doses.spreads[arm], unit: "Gy", clear: false };
  }
  const limit = doses.difference_limit;
  return { palette: DIFFERENCES, low: -limit, high: limit, unit: "Gy", clear: false };
}

export const clear = CLEAR;
