// The fields of a plan's form, and what they say.

import { attempt, el } from "/studio/dom.js";
import { dataUrl, dropZone } from "/studio/drop.js";

const MAX_BYTES = 9e6; // of a picture: what the server takes, as text

export function input([name, text, type = "text", props = {}]) {
  const { when, ...plain } = props;
  const node = bare(name, text, type, plain);
  if (when) node.dataset.when = when;
  return node;
}

function bare(name, text, type, props) {
  if (type === "picture") return picture(name, text);
  if (type === "check") return el("label", { className: "check" }, el("input", { type: "checkbox", name, checked: props.value ?? false }), text);
  if (type === "area") return el("label", {}, text, el("textarea", { name, rows: 2, ...props }));
  if (type === "select") return el("label", {}, text, el("select", { name }, ...props.options.map(([value, words]) => el("option", { value }, words))));
  return el("label", {}, text, el("input", { name, type: type === "list" ? "text" : type, ...(type === "number" ? { step: "any" } : {}), ...props }));
}

// A picture that travels inside the plan, as a data: URL in a hidden field.
function picture(name, text) {
  const kept = el("input", { type: "hidden", name }), box = el("div", {}, kept);
  const draw = item => {
    const had = box.contains(document.activeElement);
    box.replaceChildren(kept, dropZone({ name: text, optional: true, pictures: true, item, onitem: found => attempt(() => take(found)) }));
    if (had) box.querySelector("[type=file]").focus();
  };
  const take = async item => {
    if (item?.file.size > MAX_BYTES) throw new Error(`${item.name} is larger than ${MAX_BYTES / 1e6} MB; choose a smaller picture.`);
    kept.value = item ? await dataUrl(item.file) : "";
    draw(item);
  };
  draw(null);
  return box;
}

// What the fields say, as the plan says it; pictures go to `assets`, and the plan has their names.
export function values(scope, fields, assets) {
  const found = {};
  for (const [name, , type] of fields) {
    const node = scope.querySelector(`[name="${name}"]`);
    const text = node.value.trim();
    if (node.closest("[hidden]")) continue;
    if (type === "check") { if (node.checked) put(found, name, true); }
    else if (text === "") continue;
    else if (type === "number") put(found, name, Number(text));
    else if (type === "list") put(found, name, text.split(",").map(part => part.trim()).filter(Boolean));
    else if (type === "picture") put(found, name, nameOf(text, assets));
    else put(found, name, text);
  }
  return found;
}

// "brand.color" goes into the object "brand".
function put(found, path, value) {
  const keys = path.split("."), lastKey = keys.pop();
  keys.reduce((target, name) => (target[name] ??= {}), found)[lastKey] = value;
}

function nameOf(picture, assets) {
  if (!assets.has(picture)) assets.set(picture, `picture${assets.size + 1}`);
  return assets.get(picture);
}
