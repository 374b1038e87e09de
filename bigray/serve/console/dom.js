// Elements from plain data. Every text goes in as a text node, so that nothing that came from a model, an artifact or a
// caller is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  put(node, ...children);
  return node;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Replace what a node holds; strings and numbers become text nodes, empty values nothing. */
export function put(node, ...children) {
  const real = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.replaceChildren(...real.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

/** Change a node's text, and touch nothing where it is the same already. */
export function say(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
  return node;
}

let count = 0;
export const unique = (stem) => `${stem}-${++count}`;

/** A labelled field: label above, control, and a hint that is read with it. */
export function field(label, control, hint) {
  control.id ||= unique("field");
  const parts = [h("label", { for: control.id }, label), control];
  if (hint) {
    const told = h("p", { class: "hint", id: unique("hint") }, hint);
    control.setAttribute("aria-describedby", told.id);
    parts.push(told);
  }
  return h("div", { class: "field" }, ...parts);
}

/** A table with a caption, whose first column names the row. Columns: [heading, {number: true}?]; rows: arrays of cells. */
export function table(caption, columns, rows, properties = {}) {
  const head = columns.map(([name, options]) => h("th", { scope: "col", class: options?.number && "n" }, name));
  const cell = (content, i) =>
    i === 0
      ? h("th", { scope: "row" }, content)
      : h("td", { class: columns[i][1]?.number && "n" }, content);
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      properties,
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...head)),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell)))),
    ),
  );
}
