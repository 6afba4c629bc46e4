// Small helpers. Text goes into the page as text, never as HTML.

export const $ = id => document.getElementById(id);

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
  return node;
}

export const button = (text, action, props = {}) =>
  el("button", { type: "button", onclick: () => attempt(action), ...props }, text);

export function problem(text) {
  $("problem").textContent = text ?? "";
  $("problem").hidden = !text;
  if (text) $("problem").scrollIntoView({ block: "nearest" });
}

export const say = text => { $("said").textContent = text; };

// Run something that may fail; its sentence is shown at the top.
export async function attempt(action) {
  try {
    problem("");
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  }
}

// Show what a video is coming to, under whatever else the box holds.
export function sketch(box, url) {
  if (!url?.startsWith("data:image/")) return;
  let picture = box.querySelector(".sketch");
  if (!picture) {
    picture = el("img", { className: "sketch", alt: "Preview, not the result" });
    box.prepend(picture, el("span", { className: "tag" }, "preview"));
  }
  picture.src = url;
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const seconds = value => `${Number(Number(value).toFixed(1))} s`;
