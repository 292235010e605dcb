/* The loss curve over steps: logarithmic, the weighted terms and their sum. */

import { by_id, set } from "./dash.js";

const CURVES = ["variation", "style", "content", "total"];      // the last is drawn on top
const MARGIN = { left: 44, right: 10, top: 8, bottom: 24 };

/** @param {{points: any[], steps: number} | null} job    points {step, total, content, style, variation} */
export function draw_curve(job) {
  const box = by_id("loss-curve");
  if (!job?.points.length || !box.clientWidth) return;
  const { points, steps } = job, [width, height] = [box.clientWidth, box.clientHeight];
  const values = points.flatMap((point) => CURVES.map((name) => point[name])).filter((value) => value > 0);
  // Whole decades, at least one and at most four: less than a ten-thousandth of the maximum is negligible.
  const top = Math.ceil(Math.log10(Math.max(...values)) - 1e-9);
  const bottom = Math.min(top - 1, Math.floor(Math.log10(Math.max(Math.min(...values), 10 ** (top - 4))) + 1e-9));
  const x = (step) => MARGIN.left + (width - MARGIN.left - MARGIN.right) * step / steps;
  const y = (value) => {
    const share = (top - Math.max(Math.log10(value), bottom)) / (top - bottom);
    return MARGIN.top + (height - MARGIN.top - MARGIN.bottom) * share;
  };
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  for (let power = bottom; power <= top; power++) {
    const at = y(10 ** power);
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
    svg.append(shape("text", { x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, decade(power)));
  }
  for (const [step, anchor] of [[0, "start"], [steps, "end"]]) {
    svg.append(shape("text", { x: x(step), y: height - 6, "text-anchor": anchor }, `${step ? "step " : ""}${step}`));
  }
  for (const name of CURVES) {
    const line = points.filter((point) => point[name] > 0)
      .map((point) => `${x(point.step).toFixed(1)},${y(point[name]).toFixed(1)}`).join(" ");
    if (line) svg.append(shape("polyline", { class: name, points: line }));
  }
  const [first, last] = [points[0], points.at(-1)];
  svg.append(shape("circle", { class: "total", cx: x(last.step), cy: y(last.total), r: 3.5 }));
  svg.setAttribute("aria-label",
    `Loss over steps: ${short(first.total)} at step ${first.step}, ${short(last.total)} at step ${last.step}`);
  box.replaceChildren(svg);
  for (const name of CURVES) set(`loss-${name}`, { children: last[name] === undefined ? "" : short(last[name]) });
}

function shape(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const short = (value) => (value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2))));
const decade = (power) => (power < -3 || power > 4 ? `1e${power}` : String(Number((10 ** power).toPrecision(1))));
