// Charts as inline SVG: a sparkline, curves over epochs, and quality against latency. Colours are the style sheet's.

import { h, s, say, put, unique } from "./dom.js";
import * as words from "./words.js";

/** Map values to positions; logarithmic where that is asked for. */
function axis(low, high, start, end, log = false) {
  const f = log ? Math.log : (x) => x;
  const [a, b] = [f(low), f(high)];
  const place = (value) => start + ((f(value) - a) / (b - a || 1)) * (end - start);
  return { place, ticks: log ? logTicks(low, high) : ticks(low, high) };
}

function ticks(low, high, wanted = 5) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough) ?? rough;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const m of [1, 2, 5]) if (m * 10 ** p >= low && m * 10 ** p <= high) found.push(Number((m * 10 ** p).toPrecision(3)));
  }
  return found.length > 1 ? found : ticks(low, high, 4);
}

function padded(values, share = 0.1) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * share || Math.abs(high) * share || 0.5;
  return [low - room, high + room];
}

function padlog(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(1.25, (high / low) ** 0.1);
  return [low / room, high * room];
}

/** Charts are drawn for the room there is, so that their text keeps its size. */
const narrow = () => innerWidth < 620;
const short = (value) => String(Number(value.toPrecision(4)));

/** The rate of the last minute as small bars; `update(values)` redraws. */
export function sparkline(label) {
  const path = s("path", {});
  const node = s("svg", { class: "spark", viewBox: "0 0 120 28", preserveAspectRatio: "none", role: "img", "aria-label": label }, path);
  const update = (values) => {
    const top = Math.max(1, ...values);
    const wide = 120 / values.length;
    const bars = values.map((value, i) => {
      const tall = value ? Math.max(2, (value / top) * 27) : 0.75;
      return `M${(i * wide).toFixed(2)} 28v${-tall.toFixed(2)}h${(wide * 0.7).toFixed(2)}v${tall.toFixed(2)}z`;
    });
    path.setAttribute("d", bars.join(""));
    node.setAttribute("aria-label", `${label}: ${values.reduce((a, b) => a + b, 0)} in the last minute, at most ${Math.max(0, ...values)} in one second`);
  };
  return { node, update };
}

function frame(box, across, up, xTitle, yTitle) {
  const { width, height, left, right, top, bottom } = box;
  return [
    ...up.ticks.map((value) => [
      s("line", { class: "grid", x1: left, x2: width - right, y1: up.place(value), y2: up.place(value) }),
      s("text", { class: "tick", x: left - 8, y: up.place(value) + 4, "text-anchor": "end" }, short(value)),
    ]),
    ...across.ticks.map((value) =>
      s("text", { class: "tick", x: across.place(value), y: height - bottom + 18, "text-anchor": "middle" }, short(value)),
    ),
    s("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
    s("text", { class: "tick", x: width - right, y: height - 6, "text-anchor": "end" }, xTitle),
    s("text", { class: "tick", x: 0, y: 12 }, yTitle),
  ].flat();
}

/** One quantity over epochs, which people count from 1. */
export function curve(title, key, history) {
  const rows = history.filter((row) => Number.isFinite(row[key]));
  if (!rows.length) return null;
  const box = { width: narrow() ? 320 : 560, height: narrow() ? 190 : 230, left: 48, right: 14, top: 12, bottom: 40 };
  const xs = rows.map((row) => row.epoch + 1);
  const across = axis(Math.min(...xs) - 0.2, Math.max(...xs) + 0.2, box.left, box.width - box.right);
  across.ticks = across.ticks.filter(Number.isInteger);
  const up = axis(...padded(rows.map((row) => row[key])), box.height - box.bottom, box.top);
  const spots = rows.map((row) => [across.place(row.epoch + 1), up.place(row[key])]);
  const last = rows.at(-1);
  const told = `${title} after each epoch: ${short(rows[0][key])} at first, ${short(last[key])} after ${words.many(rows.length, "epoch")}`;
  return h(
    "figure",
    {},
    h("figcaption", {}, title, " ", h("strong", {}, short(last[key]))),
    s(
      "svg",
      { viewBox: `0 0 ${box.width} ${box.height}`, role: "img", "aria-label": told },
      ...frame(box, across, up, "epoch", ""),
      s("polyline", { class: "curve", points: spots.map((spot) => spot.join(",")).join(" ") }),
      ...spots.map(([x, y]) => s("circle", { class: "dot", cx: x, cy: y, r: 3.5 })),
    ),
  );
}

/** Quality against p95 latency; the area of a bubble is the size of the model. Every point can be reached by keyboard. */
export function front(data) {
  const box = { width: narrow() ? 320 : 560, height: 320, left: 48, right: 16, top: 34, bottom: 46 };
  const name = words.metric(data.metric);
  const xs = data.points.map((point) => point.p95_ms);
  const log = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) > 8;
  const dense = data.points.find((point) => point.kind === "dense");
  const floor = dense && dense.quality - ((data.higher_is_better ? 1 : -1) * data.max_drop) / 100;
  const across = axis(...(log ? padlog(xs) : padded(xs)), box.left, box.width - box.right, log);
  const ys = data.points.map((point) => point.quality);
  const up = axis(...padded(floor === undefined ? ys : [...ys, floor]), box.height - box.bottom, box.top);
  const largest = Math.max(...data.points.map((point) => point.size_bytes), 1);
  const radius = (point) => 4 + 12 * Math.sqrt(point.size_bytes / largest);
  const order = { candidate: 0, front: 1, dense: 2, chosen: 3 };
  const shown = [...data.points].sort((a, b) => order[a.kind] - order[b.kind]);
  const readout = h("p", { class: "readout", id: unique("readout") });
  const text = (point) =>
    `${point.kind === "chosen" ? "Chosen: " : ""}${point.label}: ${name} ${short(point.quality)}, p95 ${words.ms(point.p95_ms)}, ${words.bytes(point.size_bytes)}`;
  const tell = (point) => say(readout, text(point));
  const rest = shown.find((point) => point.kind === "chosen") ?? shown.at(-1);
  tell(rest);
  const mark = (point) => {
    const [x, y, r] = [across.place(point.p95_ms), up.place(point.quality), radius(point)];
    const events = { onmouseenter: () => tell(point), onfocus: () => tell(point), onmouseleave: () => tell(rest), onblur: () => tell(rest) };
    const left = x > 0.78 * box.width;
    const label = point.kind === "chosen" || point.kind === "dense";
    return s(
      "g",
      { class: `mark ${point.kind}`, tabindex: 0, role: "img", "aria-label": text(point), ...events },
      point.kind === "dense"
        ? s("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 3 })
        : s("circle", { cx: x, cy: y, r }),
      label && s("text", { class: "label", x: left ? x - r - 7 : x + r + 7, y: y + 5, "text-anchor": left ? "end" : "start" }, point.kind),
    );
  };
  const line = unbeaten(data).map((point) => `${across.place(point.p95_ms)},${up.place(point.quality)}`);
  const kinds = [["chosen", "chosen"], ["front", "on the front of the search"], ["candidate", "other candidates"], ["dense", "dense model"]];
  return h(
    "figure",
    { class: "front" },
    s(
      "svg",
      { viewBox: `0 0 ${box.width} ${box.height}`, role: "group", "aria-label": `${name} against p95 latency of ${words.many(data.points.length, "measured model")}` },
      ...frame(box, across, up, `p95 latency in ms${log ? ", logarithmic" : ""}`, name),
      floor !== undefined && s("line", { class: "floor", x1: box.left, x2: box.width - box.right, y1: up.place(floor), y2: up.place(floor) }),
      floor !== undefined && s("text", { class: "tick", x: box.width - box.right, y: up.place(floor) + 15, "text-anchor": "end" }, `budget: ${words.points(data.max_drop)} ${data.max_drop === 1 ? "point" : "points"} lost`),
      s("polyline", { class: "frontline", points: line.join(" ") }),
      ...shown.map(mark),
    ),
    readout,
    put(h("ul", { class: "key" }), kinds.filter(([kind]) => shown.some((point) => point.kind === kind)).map(([kind, told]) => h("li", {}, h("i", { class: kind, "aria-hidden": "true" }), told))),
  );
}

function unbeaten(data) {
  const sign = data.higher_is_better ? 1 : -1;
  const found = [];
  for (const point of [...data.points].sort((a, b) => a.p95_ms - b.p95_ms || sign * (b.quality - a.quality))) {
    if (!found.length || sign * point.quality > sign * found.at(-1).quality) found.push(point);
  }
  return found;
}

/** Bars for labels and scores between 0 and 1, as a table that needs no eyes. */
export function bars(caption, labels) {
  const top = Math.max(...labels.map((item) => item.score), 1e-9);
  const scale = labels.every((item) => item.score >= 0 && item.score <= 1) ? 1 : top;
  const row = (item) => {
    const bar = s("svg", { class: "meter", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "track", width: 100, height: 6 }),
      s("rect", { class: "fill", width: Math.max(0, Math.min(100, (100 * item.score) / scale)), height: 6 }));
    return h("tr", {}, h("th", { scope: "row" }, item.label), h("td", { class: "wide" }, bar), h("td", { class: "n" }, scale === 1 ? words.percent(item.score) : words.number(item.score)));
  };
  return h("table", { class: "bars" }, h("caption", { class: "unseen" }, caption),
    h("thead", { class: "unseen" }, h("tr", {}, h("th", { scope: "col" }, "Label"), h("th", { scope: "col" }, "Bar"), h("th", { scope: "col" }, "Score"))),
    h("tbody", {}, ...labels.map(row)));
}
