// The versions of a model: which one runs, the canary under way, and what was decided and why.

import { h, put, table } from "./dom.js";
import * as words from "./words.js";

const short = (version) => h("code", {}, String(version ?? words.NONE).slice(0, 12));
const rate = (part, whole) => (whole ? words.percent(part / whole) : words.NONE);

/** Fill `node` from the `rollout` member of a model's description; nothing where the service keeps no versions. */
export function versions(node, rollout) {
  const known = rollout?.versions ?? [];
  node.hidden = !known.length && !rollout?.canary;
  if (node.hidden) return;
  const rows = [...known].reverse().slice(0, 8).map((one) => [short(one.id), one.id === rollout.running ? "runs" : one.rolled_back ? "rolled back" : "kept", words.when(one.deployed)]);
  const decisions = [...(rollout.decisions ?? [])].reverse().slice(0, 6);
  put(node, h("h2", {}, "Versions"),
    rollout.canary && canary(rollout.canary),
    rows.length > 0 && table("Versions kept, newest first", [["Version"], ["State"], ["Deployed"]], rows),
    decisions.length > 0 && h("ol", { class: "log", "aria-label": "What was decided" },
      ...decisions.map((event) => h("li", {}, h("strong", {}, event.what), " ", short(event.version), h("span", { class: "hint" }, ` ${words.when(event.at)}, by ${event.by === "hand" ? "hand" : "bigray"}`), event.reason && h("p", {}, event.reason)))));
}

function canary(told) {
  const seen = told.seen ?? {};
  const share = told.shadow ? `a copy of ${words.percent(told.share)} of requests` : `${words.percent(told.share)} of requests`;
  const rows = [
    ["Requests", seen.requests ?? 0, seen.present_requests ?? 0],
    ["Errors", seen.errors ?? 0, seen.present_errors ?? 0],
    ["p95", words.ms(seen.requests ? seen.p95_ms : NaN), words.ms(seen.present_requests ? seen.present_p95_ms : NaN)],
    ["Same answer", rate(seen.agreed, seen.compared), ""],
  ];
  return [
    h("p", { class: "canary" }, `Canary ${words.plain(told.state)}: version `, short(told.version?.id), ` gets ${share}`, told.waiting_for ? `; ${told.waiting_for}` : ""),
    table("Canary beside the present version", [["Measure"], ["Canary", { number: true }], ["Present", { number: true }]], rows),
  ];
}
