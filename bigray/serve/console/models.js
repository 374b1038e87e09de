// The list of models, and the page of one.

import { get, key } from "./api.js";
import { problem } from "./answers.js";
import { front, sparkline } from "./chart.js";
import { h, put, say } from "./dom.js";
import { panel } from "./tryit.js";
import { versions } from "./versions.js";
import * as words from "./words.js";

const AGAIN_MS = 5000;
const STATES = { RUNNING: "good", DEPLOYING: "busy", DELETING: "busy", UNHEALTHY: "bad", DEPLOY_FAILED: "bad" };

const state = (status) => h("span", { class: `state ${STATES[status] ?? "idle"}` }, h("i", { "aria-hidden": "true" }), words.plain(status).toLowerCase());
const count = (model) => (model.replicas ? (model.replicas.running === model.replicas.wanted ? String(model.replicas.running) : `${model.replicas.running} of ${model.replicas.wanted}`) : words.NONE);
const link = (name) => `#/models/${encodeURIComponent(name)}`;
const trouble = (live) => (live ? (live.failed ? `${live.failed} failed` : live.refused ? `${live.refused} refused` : "0") : words.NONE);

/** What a canary under way says of itself, in one line; tolerant of what is not told. */
function canary(model) {
  const told = model.canary;
  if (!told || typeof told !== "object") return null;
  const share = told.share ?? told.fraction ?? told.percent;
  const parts = [
    `version ${words.plain(told.version ?? told.to ?? "new")}`,
    Number.isFinite(share) ? `${share <= 1 ? Math.round(100 * share) : share} % of requests` : told.shadow ? "a copy of requests" : null,
    Number.isFinite(told.agreement) ? `agrees on ${words.percent(told.agreement)}` : null,
    told.state ?? told.status ?? null,
    told.reason ?? null,
  ];
  return `Canary: ${parts.filter(Boolean).join(", ")}`;
}

/** A number with its name above and a note below; `set` changes it in place. */
function tile(name, extra) {
  const value = h("dd", {}, words.NONE);
  const note = h("dd", { class: "note" });
  const node = h("div", { class: "tile" }, h("dt", {}, name), value, extra ? h("dd", {}, extra) : note);
  return { node, set: (text, told = "", bad = false) => { say(value, text); say(note, told); value.classList.toggle("bad", bad); } };
}

const COLUMNS = [["Model"], ["Task"], ["Runs on"], ["Version"], ["State"], ["Replicas", 1], ["Requests/s", 1], ["Last minute"], ["p50", 1], ["p95", 1], ["Errors", 1]];

export function overview() {
  const tiles = { running: tile("Models running"), rate: tile("Requests per second"), slow: tile("Slowest p95"), failed: tile("Failed, last minute") };
  const body = h("tbody", {});
  const told = h("p", { class: "hint", id: "models-note" });
  const list = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models" },
    h("table", { class: "models" }, h("caption", { class: "unseen" }, "Models, with numbers of the last minute"),
      h("thead", {}, h("tr", {}, ...COLUMNS.map(([name, n]) => h("th", { scope: "col", class: n && "n" }, name)))), body));
  const empty = h("div", { class: "empty", hidden: true }, h("p", {}, "No model runs yet."), h("pre", {}, "bigray deploy runs/NAME/artifact --name NAME"));
  const rows = new Map();

  function row(model) {
    const cells = COLUMNS.slice(5).map(() => h("td", { class: "n" }));
    const spark = sparkline(`Requests to ${model.id}`);
    put(cells[2], spark.node);
    cells[2].className = "";
    const version = h("td", {});
    const status = h("td", {});
    const engine = h("td", {});
    const node = h("tr", {}, h("th", { scope: "row" }, h("a", { href: link(model.id) }, model.id)), h("td", {}, words.plain(model.task)), engine, version, status, ...cells);
    return { node, cells, spark, version, status, engine, last: "" };
  }

  function update({ models, live }) {
    const names = models.map((model) => model.id);
    for (const name of rows.keys()) if (!names.includes(name)) rows.delete(name);
    for (const model of models) {
      if (!rows.has(model.id)) rows.set(model.id, row(model));
      const { cells, spark, version, status, engine } = rows.get(model.id);
      const entry = rows.get(model.id);
      const now = live?.models?.[model.id];
      say(engine, words.engine(model.engine));
      if (entry.last !== `${model.version}${model.status}${canary(model)}`) {
        entry.last = `${model.version}${model.status}${canary(model)}`;
        put(version, h("code", {}, (model.version ?? words.NONE).slice(0, 12)), canary(model) && h("small", { class: "canary" }, canary(model)));
        put(status, state(model.status));
      }
      say(cells[0], count(model));
      say(cells[1], words.number(now?.rate_per_s));
      spark.update(now?.per_second ?? Array(60).fill(0));
      say(cells[3], words.ms(now?.p50_ms));
      say(cells[4], words.ms(now?.p95_ms));
      say(cells[5], trouble(now));
      cells[5].classList.toggle("bad", Boolean(now?.failed));
    }
    const wanted = models.map((model) => rows.get(model.id).node);
    if (wanted.length !== body.children.length || wanted.some((node, i) => body.children[i] !== node)) put(body, wanted);
    empty.hidden = models.length > 0;
    list.hidden = models.length === 0;
    const all = Object.values(live?.models ?? {});
    const up = models.filter((model) => model.status === "RUNNING").length;
    const sum = (name) => all.reduce((total, one) => total + (one[name] ?? 0), 0);
    const slow = Object.entries(live?.models ?? {}).filter(([, one]) => one.p95_ms !== null).sort((a, b) => b[1].p95_ms - a[1].p95_ms)[0];
    tiles.running.set(`${up}`, up === models.length ? "all that are deployed" : `of ${models.length} deployed`);
    tiles.rate.set(live ? words.number(sum("rate_per_s")) : words.NONE, live ? `${words.many(sum("requests"), "request")} in the last minute` : "");
    tiles.slow.set(slow ? words.ms(slow[1].p95_ms) : words.NONE, slow ? slow[0] : live ? "nothing was asked" : "");
    tiles.failed.set(live ? String(sum("failed")) : words.NONE, live ? `${sum("refused")} refused` : "", sum("failed") > 0);
  }

  const node = [h("h1", { tabindex: -1 }, "Models"), h("dl", { class: "tiles" }, ...Object.values(tiles).map((one) => one.node)), list, empty, told];
  return { title: "Models", page: "models", node, update, note: told };
}

/** The page of one model; its description is asked for once, and again when its version changes. */
export function one(name) {
  const head = h("div", { class: "head" });
  const spark = sparkline("Requests");
  const tiles = { rate: tile("Requests per second", spark.node), p50: tile("p50"), p95: tile("p95"), failed: tile("Failed, last minute"), replicas: tile("Replicas") };
  const content = h("div", { class: "columns" }, h("p", { role: "status" }, "Reading …"));
  const note = h("p", { class: "hint" });
  const kept = h("section", { class: "card", "aria-label": "Versions", hidden: true });
  let shown;
  let again = 0;

  async function describe(version) {
    const same = version === shown;
    shown = version;
    again = performance.now() + AGAIN_MS;
    try {
      const model = await get(`models/${encodeURIComponent(name)}`);
      versions(kept, model.rollout);
      if (!same) put(content, ...sections(model, kept)); // what somebody is typing into stays
    } catch (error) {
      if (same) return;
      put(content, problem(error));
      shown = undefined;
    }
  }

  function update({ models, live }) {
    const model = models.find((found) => found.id === name);
    if (!model) {
      put(head, h("p", {}, "It may have been taken off."));
      put(content, h("p", {}, `There is no model ${name} now. `, h("a", { href: "#/" }, "All models")));
      shown = undefined;
      return;
    }
    const now = live?.models?.[name];
    const line = [words.plain(model.task), words.engine(model.engine), `version ${model.version ?? words.NONE}`, model.created && `made ${words.when(model.created)}`].filter(Boolean).join(" · ");
    const told = `${model.status}${line}${canary(model)}`;
    if (head.dataset.told !== told) {
      head.dataset.told = told;
      put(head, state(model.status), h("p", {}, line), canary(model) && h("p", { class: "canary" }, canary(model)));
    }
    tiles.rate.set(words.number(now?.rate_per_s));
    spark.update(now?.per_second ?? Array(60).fill(0));
    tiles.p50.set(words.ms(now?.p50_ms), "half of all answers are faster");
    tiles.p95.set(words.ms(now?.p95_ms), "19 of 20 answers are faster");
    tiles.failed.set(now ? String(now.failed) : words.NONE, now ? `${now.refused} refused, of ${now.requests}` : "", now?.failed > 0);
    tiles.replicas.set(count(model), now ? `${now.reporting} reporting` : "");
    if (shown === undefined || (model.version && model.version !== shown)) describe(model.version ?? "");
    else if (!kept.hidden && performance.now() > again) describe(shown);
  }

  const crumbs = h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/" }, "Models"), h("span", { "aria-hidden": "true" }, "/"));
  const node = [crumbs, h("h1", { tabindex: -1 }, name), head, h("dl", { class: "tiles" }, ...Object.values(tiles).map((entry) => entry.node)), content, note];
  return { title: name, page: "models", node, update, note };
}

const card = (title, ...content) => h("section", { class: "card", "aria-label": title }, h("h2", {}, title), ...content);

function sections(model, kept) {
  return [
    h("div", {}, card("Try it", panel(model)), card("Call it", ...calls(model))),
    h("div", {}, card("Quality against latency", ...quality(model)), kept, card("About", about(model))),
  ];
}

function quality(model) {
  const verdict = model.verdict?.reason && h("p", {}, h("strong", { class: model.verdict.qualified ? "yes" : "no" }, model.verdict.qualified ? "Qualified: " : "Not qualified: "), model.verdict.reason);
  if (!model.front?.points?.length) return [verdict, h("p", { class: "hint" }, "This artifact tells of no search: it was not compressed, or was made before such pictures were kept.")];
  const rows = [...model.front.points].sort((a, b) => a.p95_ms - b.p95_ms);
  const cells = (point) => h("tr", { class: point.kind === "chosen" && "picked" }, h("th", { scope: "row" }, point.label), ...[point.quality.toPrecision(4), words.ms(point.p95_ms), words.bytes(point.size_bytes)].map((text) => h("td", { class: "n" }, text)));
  const numbers = h("details", {}, h("summary", {}, `Numbers of ${words.many(rows.length, "model")}, of ${model.front.tried} tried`),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Measured models" }, h("table", {}, h("caption", { class: "unseen" }, "Measured models, fastest first"),
      h("thead", {}, h("tr", {}, ...[["Model"], [words.metric(model.front.metric), 1], ["p95", 1], ["Size", 1]].map(([name, n]) => h("th", { scope: "col", class: n && "n" }, name)))), h("tbody", {}, ...rows.map(cells)))));
  return [verdict, front(model.front), numbers];
}

function about(model) {
  const test = Object.entries(model.metrics?.test ?? {}).filter(([, estimate]) => Number.isFinite(estimate?.value));
  const pairs = [
    ["Compression", (model.steps ?? []).map((step) => words.plain(step.method)).join(", ") || "none"],
    ["Size", words.bytes(model.size_bytes)],
    ["Against the dense model", model.latency?.speedup ? `${words.number(model.latency.speedup)} times faster` : words.NONE],
    ...test.slice(0, 4).map(([name, estimate]) => [words.metric(name), `${estimate.value.toFixed(4)}, 95 % interval ${estimate.low.toFixed(4)} to ${estimate.high.toFixed(4)}, ${words.many(estimate.rows, "row")}`]),
    ["Labels", model.labels?.length ? `${model.labels.slice(0, 12).join(", ")}${model.labels.length > 12 ? ` and ${model.labels.length - 12} more` : ""}` : words.NONE],
    ["Limits", `${words.bytes(model.limits?.max_body_bytes)} a request, ${words.number(model.limits?.timeout_s)} s, ${words.many(model.limits?.max_items ?? 0, "input")}`],
    ["Memory of the replica asked", words.bytes(model.process?.rss_bytes)],
    ["Up for", words.duration(model.process?.uptime_s)],
  ];
  return h("dl", { class: "facts" }, ...pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function calls(model) {
  const base = new URL(`models/${encodeURIComponent(model.id)}`, document.baseURI.split("#")[0]).href;
  const service = new URL(".", document.baseURI.split("#")[0]).href.replace(/\/$/, "");
  const texts = { question_answering: '{"inputs": {"question": "When?", "context": "Ada came at nine."}}' };
  const plain = ["text_classification", "translation", "summarization", "text_to_speech", "question_answering"].includes(model.task);
  const curl = plain ? `curl ${base} \\\n  -H 'content-type: application/json' \\\n  -d '${texts[model.task] ?? '{"inputs": "a text"}'}'` : `curl ${base} \\\n  -H 'content-type: application/octet-stream' \\\n  --data-binary @FILE`;
  const given = model.task === "question_answering" ? '"When?", "Ada came at nine."' : plain ? '"a text"' : '"FILE"';
  const python = `from bigray import Client\n\nwith Client("${service}") as client:\n    print(client.${model.task}(${given}, model="${model.id}"))`;
  const block = (title, code) => {
    const button = h("button", { type: "button", class: "quiet", "aria-label": `Copy ${title}` }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(code).catch(() => {});
      say(button, "Copied");
      setTimeout(() => say(button, "Copy"), 1500);
    });
    return h("div", { class: "code" }, h("div", {}, h("h3", {}, title), button), h("pre", { tabindex: 0, "aria-label": title }, code));
  };
  return [block("curl", curl), block("Python", python), h("p", { class: "hint" }, key.get() ? h("code", {}, "/openapi.json") : h("a", { href: `${base}/openapi.json` }, "OpenAPI page"), " · other doors: ", h("code", {}, "/v2"), " Open Inference", " · ", h("code", {}, "/v1"), " OpenAI, where it has the task")];
}
