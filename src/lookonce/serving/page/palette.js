// A colour for each class: the first ones as drawn by the command line, the others as distinct as possible.

/** @typedef {[number, number, number]} Rgb 0..255 */

/** @type {Rgb[]} */
const FIRST = [
  [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0],
  [204, 121, 167], [51, 34, 136], [68, 170, 153], [136, 34, 85], [221, 204, 119], [170, 68, 153],
];
const STEPS = [0, 36, 73, 109, 146, 182, 219, 255];

/** @type {Rgb[]} */
const colours = [...FIRST];
/** @type {{rgb: Rgb, lab: number[], nearest: number}[]} */
let candidates = [];

/** Return the colour of the class with this index, independent of the other classes. @param {number} index */
export function colourOf(index) {
  if (!candidates.length) candidates = makeCandidates();
  while (colours.length <= index && colours.length < FIRST.length + candidates.length) {
    const next = candidates.reduce((best, one) => (one.nearest > best.nearest ? one : best));
    colours.push(next.rgb);
    for (const one of candidates) one.nearest = Math.min(one.nearest, distance(one.lab, next.lab));
  }
  return colours[index % colours.length];
}

/** @param {Rgb} rgb */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** Return black or white, whichever has more contrast on a colour (WCAG). @param {Rgb} rgb @returns {Rgb} */
export function inkOn(rgb) {
  const [red, green, blue] = rgb.map(linear);
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return luminance > 0.179 ? [0, 0, 0] : [255, 255, 255];
}

function makeCandidates() {
  const taken = FIRST.map(oklab);
  const grid = STEPS.flatMap((red) => STEPS.flatMap((green) => STEPS.map((blue) => [red, green, blue])));
  return grid
    .map((rgb) => ({ rgb: /** @type {Rgb} */ (rgb), lab: oklab(rgb), nearest: Infinity }))
    // Exclude dark, light and grey colours, which blend into images.
    .filter(({ lab: [light, a, b] }) => light > 0.48 && light < 0.93 && Math.hypot(a, b) > 0.07)
    .map((one) => ({ ...one, nearest: Math.min(...taken.map((lab) => distance(one.lab, lab))) }));
}

function distance(one, other) {
  return Math.hypot(one[0] - other[0], one[1] - other[1], one[2] - other[2]);
}

function linear(value) {
  const share = value / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
}

/** Convert to Ottosson's Oklab, a perceptually uniform colour space. */
function oklab(rgb) {
  const [red, green, blue] = rgb.map(linear);
  const long = Math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue);
  const medium = Math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue);
  const short = Math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue);
  return [
    0.2104542553 * long + 0.793617785 * medium - 0.0040720468 * short,
    1.9779984951 * long - 2.428592205 * medium + 0.4505937099 * short,
    0.0259040371 * long + 0.7827717662 * medium - 0.808675766 * short,
  ];
}
