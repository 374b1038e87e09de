// The page: which view is shown, what is asked again and again, and the API key.

import { get, key } from "./api.js";
import { put, say } from "./dom.js";
import { one, overview } from "./models.js";
import { runs } from "./runs.js";

const LIVE_MS = 2000;
const LIST_MS = 10000;
const at = (id) => document.getElementById(id);
const [main, banner, pulse, dialog] = ["main", "banner", "pulse", "key-dialog"].map(at);

const told = { models: null, live: null, runs: null };
const denied = new Set(); // what the key may not see; not asked again until there is another key
let view = null;
let listed = -Infinity;
let timer = 0;
let round = 0;

function route() {
  const [page, name] = location.hash.replace(/^#\/?/, "").split("/").map(safely);
  if (page === "main") return at("main").focus(); // the skip link
  view = page === "runs" ? runs(name) : page === "models" && name ? one(name) : overview();
  document.title = `${view.title} · bigray`;
  for (const anchor of document.querySelectorAll("nav [data-page]")) {
    if (anchor.dataset.page === view.page) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  put(main, view.node);
  show();
  look();
}

function safely(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function show() {
  const ready = view.wants ? told[view.wants] : told.models;
  if (ready) view.update(told);
  const missing = [...denied].map((name) => ({ live: "live numbers", runs: "training runs" })[name]);
  say(view.note, missing.length ? `This key may not see ${missing.join(" and ")}: that needs the scope admin.` : "");
}

/** Ask for one list; a list that this key may not see is left out, and everything else goes up. */
async function read(name) {
  if (denied.has(name)) return;
  try {
    const found = await get(name);
    told[name] = name === "live" ? found : found.data;
  } catch (error) {
    if (error.status !== 403) throw error;
    denied.add(name);
    told[name] = null;
  }
}

async function look() {
  clearTimeout(timer);
  const mine = ++round;
  let wait = LIVE_MS;
  try {
    if (performance.now() - listed > LIST_MS || !told.models) {
      await read("models");
      listed = performance.now();
    }
    await read(view.wants === "runs" ? "runs" : "live");
    if (mine !== round) return;
    state("good", "Live");
    banner.hidden = true;
    if (!key.get()) at("key-open").hidden = true;
  } catch (error) {
    if (mine !== round) return;
    wait = Math.max(LIVE_MS * 2, error.retryAfter * 1000 || 0);
    if (error.status === 401) locked(error);
    else {
      state("bad", error.status ? "Trouble" : "No connection");
      say(banner, `${error.message} Trying again.`);
      banner.hidden = false;
    }
    if (error.status === 401) return; // until there is a key
  }
  show();
  timer = setTimeout(() => (document.hidden ? state("wait", "Paused") : look()), wait);
}

function state(kind, text) {
  pulse.dataset.state = kind;
  say(at("pulse-text"), text);
}

function locked(error) {
  state("wait", "Locked");
  at("key-open").hidden = false;
  at("key-forget").hidden = !key.get();
  say(at("key-error"), key.get() ? error.message : "");
  if (!dialog.open) dialog.showModal();
}

function fresh() {
  denied.clear();
  Object.assign(told, { models: null, live: null, runs: null });
  dialog.close();
  at("key-open").hidden = !key.get();
  route();
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at("key-field").value.trim());
  at("key-field").value = "";
  fresh();
});
at("key-forget").addEventListener("click", () => {
  key.forget();
  fresh();
});
at("key-close").addEventListener("click", () => dialog.close());
at("key-open").addEventListener("click", () => {
  at("key-forget").hidden = !key.get();
  say(at("key-error"), "");
  dialog.showModal();
});
at("key-open").hidden = !key.get();
document.addEventListener("visibilitychange", () => document.hidden || look());
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // a file beside its field must not replace the page
addEventListener("hashchange", () => {
  route();
  main.querySelector("h1")?.focus();
  scrollTo(0, 0);
});
route();
