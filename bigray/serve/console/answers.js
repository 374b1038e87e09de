// Answers as people read them, one function per kind.

import { bars } from "./chart.js";
import { h, put, s, say, table } from "./dom.js";
import { player } from "./inputs.js";
import * as words from "./words.js";

/** Lowest score asked of a detector: the slider of the page chooses above it. */
export const LEAST = 0.05;
const SHOWN = 12;

export const json = (value) => h("pre", { tabindex: 0, "aria-label": "Answer as JSON" }, JSON.stringify(value, null, 2));

export function labels(items) {
  const rest = items.length - SHOWN;
  return [bars("Labels and scores", items.slice(0, SHOWN)), rest > 0 && h("p", { class: "hint" }, `and ${words.many(rest, "label")} below`)];
}

export const text = (answer, name) => h("blockquote", { class: "text" }, [answer].flat().map((one) => one[name]).join("\n") || "(nothing)");

/** The answer marked in its context. Places count Unicode code points, which JavaScript's strings do not. */
export function stretch(answer, context) {
  const signs = Array.from(context);
  const told = h("p", { class: "lead" }, answer.answer || "The context holds no answer.", " ", h("span", { class: "hint" }, words.percent(answer.score)));
  if (!answer.answer) return told;
  const mark = h("mark", {}, signs.slice(answer.start, answer.end).join(""));
  return [told, h("blockquote", { class: "text" }, signs.slice(0, answer.start).join(""), mark, signs.slice(answer.end).join(""))];
}

export function sound(answer) {
  if (!(answer instanceof Blob)) return json(answer);
  return player(URL.createObjectURL(answer), null);
}

/** Boxes drawn over the image that was asked about; the slider hides those of low score. */
export function boxes(found, given) {
  const items = [...found].sort((a, b) => b.score - a.score);
  const names = [...new Set(items.map((item) => item.label))].sort();
  const image = given.image;
  const [wide, high] = [image.naturalWidth || 1, image.naturalHeight || 1];
  const slider = h("input", { type: "range", min: LEAST, max: 1, step: 0.05, value: 0.5, id: "threshold" });
  const out = h("output", { for: "threshold" });
  const layer = h("div", { class: "boxes" });
  const list = h("div", {});
  const each = items.map((item) => {
    const { xmin, ymin, xmax, ymax } = item.box;
    const node = h("div", { class: `box c${names.indexOf(item.label) % 6}` }, h("span", { class: ymin < 0.08 * high ? "inside" : null }, `${item.label} ${words.percent(item.score)}`));
    Object.assign(node.style, { left: `${(100 * xmin) / wide}%`, top: `${(100 * ymin) / high}%`, width: `${(100 * (xmax - xmin)) / wide}%`, height: `${(100 * (ymax - ymin)) / high}%` });
    return node;
  });
  function draw() {
    const floor = Number(slider.value);
    const kept = items.filter((item) => item.score >= floor);
    say(out, floor.toFixed(2));
    put(layer, each.slice(0, kept.length));
    const rows = kept.slice(0, SHOWN).map((item) => [item.label, words.percent(item.score), ["xmin", "ymin", "xmax", "ymax"].map((side) => Math.round(item.box[side])).join(", ")]);
    const told = `${words.many(kept.length, "object")} found${items.length > kept.length ? `, ${items.length - kept.length} more below this score` : ""}`;
    put(list, kept.length ? table(told, [["Object"], ["Score", { number: true }], ["Left, top, right, bottom", { number: true }]], rows) : h("p", {}, `${told}.`));
  }
  slider.addEventListener("input", draw);
  draw();
  image.hidden = true; // the same image stands below, with the boxes
  const copy = h("img", { src: given.url, alt: `${given.name} with boxes around ${words.many(items.length, "object")} at most` });
  return [
    h("div", { class: "canvas" }, copy, layer),
    h("div", { class: "slider" }, h("label", { for: "threshold" }, "Least score"), slider, out),
    list,
  ];
}

/** What was said; each word is a button that plays from its place. */
export function transcript(answer, given) {
  const audio = given.image?.querySelector("audio");
  const chunks = answer.chunks ?? [];
  const play = (from) => { if (audio) { audio.currentTime = from; audio.play().catch(() => {}); } };
  return [
    h("blockquote", { class: "text lead" }, answer.text || "(nothing was understood)"),
    chunks.length > 0 && h("ol", { class: "chunks", "aria-label": "Words, each plays from its place" },
      ...chunks.map((chunk) => h("li", {}, h("button", { type: "button", onclick: () => play(chunk.timestamp[0]) }, chunk.text, h("small", {}, `${chunk.timestamp[0].toFixed(1)} s`))))),
  ];
}

/** How like two voices or faces are, and what that means at each threshold the model knows. */
export function likeness(pair, thresholds) {
  const [a, b] = pair.map((one) => one.embedding);
  const score = a.reduce((sum, value, i) => sum + value * b[i], 0);
  const place = (value) => 50 * (1 + Math.max(-1, Math.min(1, value)));
  const known = [...thresholds].sort((one, two) => two[0] - one[0]);
  const scale = s("svg", { class: "scale", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "track", y: 3, width: 100, height: 4 }), s("rect", { class: "fill", y: 3, width: place(score), height: 4 }),
    ...known.map(([, at]) => s("rect", { class: "limit", x: place(at), y: 0, width: 0.5, height: 10 })));
  const share = (rate) => (rate >= 0.01 ? `1 in ${Math.round(1 / rate)}` : `1 in ${Math.round(1 / rate).toLocaleString("en")}`);
  const rows = known.map(([rate, at]) => [share(rate), at.toFixed(3), h("strong", { class: score >= at ? "yes" : "no" }, score >= at ? "same person" : "not the same")]);
  return [
    h("p", { class: "lead" }, "Similarity ", h("strong", {}, score.toFixed(3)), h("span", { class: "hint" }, " of −1 to 1")),
    scale,
    known.length
      ? table("What that means", [["Strangers let through"], ["Threshold", { number: true }], ["Decision"]], rows)
      : h("p", { class: "hint" }, "This model has no measured thresholds, so nothing is decided: it was not trained on people enough."),
  ];
}

/** A refusal or a failure in words, from the problem document. */
export function problem(error) {
  const list = (error.errors ?? []).filter((one) => one.detail && one.detail !== error.message);
  return h("div", { class: "problem", role: "alert" },
    h("p", {}, h("strong", {}, error.title || "That did not work"), error.status ? h("span", { class: "hint" }, ` ${error.status} ${error.code}`) : null),
    h("p", {}, error.message),
    list.length > 0 && h("ul", {}, ...list.map((one) => h("li", {}, one.pointer && h("code", {}, one.pointer), " ", one.detail))),
    error.retryAfter > 0 && h("p", { class: "hint" }, `Try again in ${words.many(error.retryAfter, "second")}.`),
    error.requestId && h("p", { class: "hint" }, `Request ${error.requestId}`));
}
