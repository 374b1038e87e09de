// Ways to give a model its input: a file that is chosen, dropped or pasted, or a recording.

import { h, put, s, say, unique } from "./dom.js";
import * as sound from "./sound.js";
import * as words from "./words.js";

const FORMS = { image: "PNG, JPEG, WebP or another image", audio: "WAV, FLAC, or what this browser can play" };

/**
 * A field for one image or sound. `given(media)` is called with {blob, name, url, samples} or null.
 * Returns the node; the preview stands inside it.
 */
export function media(kind, label, given) {
  const id = unique("file");
  const preview = h("div", { class: "preview" });
  const note = h("p", { class: "hint", role: "status", id: unique("note") }, FORMS[kind]);
  let url = "";

  async function take(blob, name) {
    try {
      const ready = kind === "audio" ? await sound.prepare(blob) : { blob, samples: null };
      URL.revokeObjectURL(url);
      url = URL.createObjectURL(ready.blob);
      say(note, `${name}, ${words.bytes(ready.blob.size)}${ready.samples ? `, ${words.number(ready.samples.length / sound.RATE)} s` : ""}`);
      put(preview, kind === "image" ? h("img", { src: url, alt: `The chosen image, ${name}` }) : player(url, ready.samples));
      given({ ...ready, name, url, image: preview.firstElementChild });
    } catch (error) {
      put(preview);
      say(note, error.message);
      given(null);
    }
  }

  const input = h("input", { type: "file", id, accept: `${kind}/*`, class: "unseen", "aria-describedby": note.id, onchange: () => input.files[0] && take(input.files[0], input.files[0].name) });
  const pasted = (event) => [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith(kind));
  const zone = h(
    "div",
    {
      class: "drop",
      ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
      ondragleave: () => zone.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        const file = event.dataTransfer.files[0];
        if (file) take(file, file.name);
      },
      onpaste: (event) => { const file = pasted(event); if (file) take(file, file.name || "pasted"); },
    },
    input,
    h("label", { for: id, class: "button" }, `Choose ${kind === "image" ? "an image" : "a sound"}`),
    kind === "audio" && sound.canRecord() && recorder(take, note),
    h("span", { class: "or" }, kind === "image" ? "or drop or paste one here" : "or drop one here"),
  );
  return h("fieldset", { class: "media" }, h("legend", {}, label), zone, note, preview);
}

function recorder(take, note) {
  let stop = null;
  let timer = 0;
  const button = h("button", { type: "button", "aria-pressed": "false", class: "record", onclick: toggle }, "Record");
  async function toggle() {
    if (stop) {
      clearInterval(timer);
      const end = stop;
      stop = null;
      button.setAttribute("aria-pressed", "false");
      say(button, "Record");
      await take(await end(), "recording");
      return;
    }
    try {
      stop = await sound.record();
    } catch {
      say(note, "The microphone cannot be used: the browser or its owner said no.");
      return;
    }
    const began = Date.now();
    button.setAttribute("aria-pressed", "true");
    say(button, "Stop");
    timer = setInterval(() => say(button, `Stop · ${Math.round((Date.now() - began) / 1000)} s`), 500);
  }
  return button;
}

/** A wave with the browser's own controls below it. */
export function player(url, samples) {
  const audio = h("audio", { src: url, controls: true });
  const tops = samples ? sound.peaks(samples, 160) : [];
  const most = Math.max(0.05, ...tops);
  const path = tops.map((top, i) => `M${i * 4 + 2} ${24 - (22 * top) / most}V${24 + (22 * top) / most}`).join("");
  return h("div", { class: "player" }, tops.length > 0 && s("svg", { viewBox: `0 0 ${tops.length * 4} 48`, preserveAspectRatio: "none", "aria-hidden": "true" }, s("path", { d: path })), audio);
}
