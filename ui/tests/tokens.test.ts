/** Colours are told apart and text is read by everybody, as far as numbers can say. */

import { describe, expect, it } from "vitest";
import css from "../src/look/tokens.css?raw";

type Triple = readonly [number, number, number];
type Matrix = readonly [Triple, Triple, Triple];
type Theme = "light" | "dark";

const tokens = new Map(
  [...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map(
    ([, name = "", light = "", dark = ""]) => [name, { light, dark }],
  ),
);

function hex(name: string, theme: Theme): string {
  const found = tokens.get(name);
  if (found === undefined) throw new Error(`no token --${name}`);
  return found[theme];
}

/** sRGB to linear light (IEC 61966-2-1). */
function linear(colour: string): Triple {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return [r ?? 0, g ?? 0, b ?? 0];
}

const times = (m: Matrix, [a, b, c]: Triple): Triple =>
  m.map((row) => row[0] * a + row[1] * b + row[2] * c) as unknown as Triple;

/** WCAG 2.1 contrast ratio, 1 to 21. */
function contrast(a: string, b: string): number {
  const [low, high] = [a, b]
    .map((one) => times([[0.2126, 0.7152, 0.0722], [0, 0, 0], [0, 0, 0]], linear(one))[0])
    .sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

/** Oklab (Ottosson 2020); distances in it are about as large as they look. */
function oklab(rgb: Triple): Triple {
  const cones = times(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    rgb.map((c) => Math.min(1, Math.max(0, c))) as unknown as Triple,
  );
  return times(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    cones.map(Math.cbrt) as unknown as Triple,
  );
}

/** What eyes see that lack one kind of cones (Machado, Oliveira and Fernandes 2009, severity 1). */
const EYES: Readonly<Record<string, Matrix>> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};
/** Two hues closer than this look alike where lines cross. */
const APART = 0.055;
const TEXT = ["ink", "ink-2", "ink-3", "run", "wait", "bad", "done", "accent"];
const SERIES = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => `s${i}`);

describe.each<Theme>(["light", "dark"])("in %s", (theme) => {
  it.each(TEXT)("%s is read on every surface", (ink) => {
    for (const surface of ["bg", "surface", "surface-2"]) {
      expect(contrast(hex(ink, theme), hex(surface, theme)), surface).toBeGreaterThanOrEqual(4.5);
    }
  });

  it.each(SERIES)("%s is seen on a card", (series) => {
    expect(contrast(hex(series, theme), hex("surface", theme))).toBeGreaterThanOrEqual(3);
  });

  it.each(Object.keys(EYES))("series stay apart for eyes with %s", (eyes) => {
    const seen = SERIES.map((name) => oklab(times(EYES[eyes] as Matrix, linear(hex(name, theme)))));
    seen.forEach((a, i) =>
      seen.slice(i + 1).forEach((b, j) => {
        const distance = Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
        expect(distance, `s${i + 1} and s${i + j + 2}`).toBeGreaterThanOrEqual(APART);
      }),
    );
  });
});
