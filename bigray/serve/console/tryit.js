// Trying a model: one form per task. A form gathers inputs, asks once, and shows the answer as that task's people read it.

import { ask, base64 } from "./api.js";
import * as answers from "./answers.js";
import { h, field, put, say } from "./dom.js";
import { media, player } from "./inputs.js";
import * as words from "./words.js";

const area = (rows, placeholder) => h("textarea", { rows, placeholder, required: true, spellcheck: "false" });

/** Each gives {fields, inputs() -> what is sent (null: nothing yet), parameters, show(answer) -> node}. */
const FORMS = {
  text_classification: () => text("Text", "A fine film, from the first scene to the last.", (answer) => answers.labels(answer.flat())),
  translation: () => text("Text to translate", "Where is the station?", (answer) => answers.text(answer, "translation_text")),
  summarization: () => text("Text to summarize", "Paste a report, an article, a thread …", (answer) => answers.text(answer, "summary_text"), 8),
  text_to_speech: () => text("Text to speak", "Good morning.", (answer) => answers.sound(answer)),
  question_answering() {
    const question = h("input", { type: "text", required: true, placeholder: "When did Ada come home?" });
    const context = area(6, "The text that holds the answer: Ada left at noon. She came home at nine.");
    return {
      fields: [field("Question", question), field("Context", context)],
      inputs: () => ({ question: question.value, context: context.value }),
      show: (answer) => answers.stretch(Array.isArray(answer) ? answer[0] : answer, context.value),
    };
  },
  image_classification: () => file("image", "Image", undefined, (answer) => answers.labels(answer)),
  object_detection: () => file("image", "Image", { threshold: answers.LEAST }, (answer, given) => answers.boxes(answer, given)),
  automatic_speech_recognition: () => file("audio", "Sound", { return_timestamps: true }, (answer, given) => answers.transcript(answer, given)),
  speaker_recognition: (model) => pair("audio", ["First voice", "Second voice"], model),
  face_recognition: (model) => pair("image", ["First face", "Second face"], model),
};

function text(label, placeholder, show, rows = 4) {
  const control = area(rows, placeholder);
  return { fields: [field(label, control)], inputs: () => control.value, show };
}

function file(kind, label, parameters, show) {
  let given = null;
  let gone = () => {};
  const node = media(kind, label, (found) => { given = found; gone(); });
  return {
    fields: [node],
    inputs: async () => given && base64(given.blob),
    parameters,
    missing: kind === "image" ? "Choose an image first." : "Choose or record a sound first.",
    show: (answer) => show(answer, given),
    onchange: (call) => { gone = call; },
  };
}

function pair(kind, labels, model) {
  const given = [null, null];
  let gone = () => {};
  const nodes = labels.map((label, i) => media(kind, label, (found) => { given[i] = found; gone(); }));
  return {
    fields: [h("div", { class: "two" }, ...nodes)],
    inputs: async () => (given[0] && given[1] ? Promise.all(given.map((one) => base64(one.blob))) : null),
    missing: kind === "image" ? "Choose two images first." : "Choose or record two sounds first.",
    show: (answer) => answers.likeness(answer, model.thresholds ?? []),
    onchange: (call) => { gone = call; },
  };
}

function raw() {
  const control = area(6, '"a text", or {"name": "value"}');
  return {
    fields: [field("Inputs, as JSON", control)],
    inputs() {
      try {
        return JSON.parse(control.value);
      } catch {
        throw new Error("That is not JSON.");
      }
    },
    show: answers.json,
  };
}

/** The panel of a model, as the description of `GET /models/NAME` tells it. */
export function panel(model) {
  const form = (FORMS[model.task] ?? raw)(model);
  const status = h("p", { class: "status", role: "status" });
  const result = h("div", { class: "answer", "aria-live": "polite", "aria-label": "Answer", role: "region" });
  const button = h("button", { type: "submit", class: "primary" }, "Run");
  let running = null;
  form.onchange?.(() => { put(result); say(status, ""); });

  async function submit(event) {
    event.preventDefault();
    running?.abort();
    const mine = (running = new AbortController());
    try {
      const inputs = await form.inputs();
      if (inputs === null) {
        say(status, form.missing);
        return;
      }
      say(status, "Asking …");
      result.setAttribute("aria-busy", "true");
      const { answer, took, requestId } = await ask(model.id, inputs, form.parameters, mine.signal);
      if (mine !== running) return;
      put(result, form.show(answer), answer instanceof Blob ? null : details(answer));
      put(status, `Answered in ${words.ms(took)}`, requestId && h("span", { class: "id" }, requestId));
    } catch (error) {
      if (error.name === "AbortError" || mine !== running) return;
      say(status, "");
      put(result, answers.problem(error));
    } finally {
      if (mine === running) result.removeAttribute("aria-busy");
    }
  }

  const enter = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      node.requestSubmit();
    }
  };
  const node = h("form", { class: "try", onsubmit: submit, onkeydown: enter, novalidate: true }, ...form.fields, h("div", { class: "actions" }, button, status), result);
  return node;
}

const details = (answer) => h("details", {}, h("summary", {}, "As it came"), answers.json(answer));

export { player };
