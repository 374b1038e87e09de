// Training runs: a list, and below it the curves of the one that is chosen.

import { curve } from "./chart.js";
import { h, put, say } from "./dom.js";
import * as words from "./words.js";

const STATES = { running: "busy", finished: "good", nothing_qualified: "idle", failed: "bad", stopped: "idle", lost: "bad" };
const TOLD = { lost: "lost: no sign of life for half a minute", nothing_qualified: "nothing qualified" };

const state = (run) => h("span", { class: `state ${STATES[run.state] ?? "idle"}` }, h("i", { "aria-hidden": "true" }), run.state === "running" ? run.stage || "starting" : words.plain(run.state));
const link = (name) => `#/runs/${encodeURIComponent(name)}`;
const score = (run) => run.history.map((row) => row[run.metric]).filter(Number.isFinite);
const best = (run) => (score(run).length ? (run.higher_is_better ? Math.max : Math.min)(...score(run)) : NaN);

const COLUMNS = [["Run"], ["Task"], ["State"], ["Epochs", 1], ["Best on validation", 1], ["Candidates", 1], ["Time", 1], ["Last heard"]];

export function runs(name) {
  const body = h("tbody", {});
  const list = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Training runs" },
    h("table", { class: "runs" }, h("caption", { class: "unseen" }, "Training runs, newest first"), h("thead", {}, h("tr", {}, ...COLUMNS.map(([title, n]) => h("th", { scope: "col", class: n && "n" }, title)))), body));
  const empty = h("div", { class: "empty", hidden: true }, h("p", {}, "No runs in the folder that this service looks into."), h("pre", {}, "bigray run text_classification.tiny"));
  const detail = h("div", { class: "detail" });
  const note = h("p", { class: "hint" });
  let last = "";

  function row(run) {
    const epochs = run.epochs ? `${run.history.length} of ${run.epochs}` : run.history.length || words.NONE;
    const value = best(run);
    const cells = [words.plain(run.task), state(run), epochs, Number.isFinite(value) ? `${words.metric(run.metric)} ${value.toFixed(4)}` : words.NONE, run.trials ?? words.NONE, words.duration(run.seconds), words.when(run.updated)];
    return h("tr", { class: run.name === name && "picked" }, h("th", { scope: "row" }, h("a", { href: link(run.name), "aria-current": run.name === name && "true" }, run.name)), ...cells.map((cell, i) => h("td", { class: COLUMNS[i + 1][1] && "n" }, cell)));
  }

  function update(told) {
    if (!told.runs) return;
    const now = JSON.stringify(told.runs);
    if (now === last) return;
    last = now;
    const focused = document.activeElement?.getAttribute("href");
    put(body, told.runs.map(row));
    if (focused?.startsWith("#/runs/")) [...body.querySelectorAll("a")].find((anchor) => anchor.getAttribute("href") === focused)?.focus();
    empty.hidden = told.runs.length > 0;
    list.hidden = told.runs.length === 0;
    const run = name ? told.runs.find((found) => found.name === name) : (told.runs.find((found) => found.state === "running") ?? told.runs[0]);
    put(detail, run ? about(run) : name && h("p", {}, `There is no run ${name}.`));
  }

  return { title: name ? `${name}, training run` : "Training runs", page: "runs", node: [h("h1", { tabindex: -1 }, "Training runs"), list, empty, detail, note], update, note, wants: "runs" };
}

function about(run) {
  const share = run.state === "running" && Number.isFinite(run.share);
  const curves = [curve("Training loss", "loss", run.history), curve(`Validation ${words.metric(run.metric)}`, run.metric, run.history)].filter(Boolean);
  const numbers = curves.length > 0 && h("details", {}, h("summary", {}, `Numbers of ${words.many(run.history.length, "epoch")}`), epochs(run));
  return h("section", { class: "card", "aria-label": run.name },
    h("h2", {}, run.name),
    h("p", { class: "head" }, state(run), " ", TOLD[run.state] ?? "", run.started && ` started ${words.when(run.started)}`),
    share && h("div", { class: "progress" }, h("progress", { max: 1, value: run.share, "aria-label": `Progress of ${run.stage}` }), say(h("span", {}), `${Math.round(100 * run.share)} % of ${run.stage}`)),
    run.outcome && h("p", {}, words.sentence(run.outcome)),
    run.chosen && h("p", {}, "Chosen: ", h("strong", {}, run.chosen)),
    curves.length > 0 ? h("div", { class: "two" }, ...curves) : h("p", { class: "hint" }, "No epoch has ended yet."),
    numbers);
}

function epochs(run) {
  const names = [...new Set(run.history.flatMap((row) => Object.keys(row)))].filter((key) => !["epoch", "rows"].includes(key));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Epochs of ${run.name}` },
    h("table", {}, h("caption", { class: "unseen" }, `Epochs of ${run.name}`), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Epoch"), ...names.map((key) => h("th", { scope: "col", class: "n" }, words.metric(key))))),
      h("tbody", {}, ...run.history.map((row) => h("tr", {}, h("th", { scope: "row" }, row.epoch + 1), ...names.map((key) => h("td", { class: "n" }, Number.isFinite(row[key]) ? Number(row[key].toPrecision(4)) : words.NONE)))))));
}
