// A place to drop a picture or a clip on, or to choose one from the keyboard.

import { el, problem } from "/studio/dom.js";

const PICTURES = ["image/png", "image/jpeg", "image/webp"];
const CLIPS = ["video/mp4", "video/webm", "video/quicktime"];

export function dropZone({ name, optional, pictures, clips, item, onitem }) {
  const accept = [...(pictures ? PICTURES : []), ...(clips ? CLIPS : [])];
  const what = pictures && clips ? "a picture or a clip" : clips ? "a clip" : "a picture";
  const input = el("input", { type: "file", accept: accept.join(), ariaLabel: `${name}: ${what}`,
    onchange: () => read(input.files[0]) });
  const zone = el("div", { className: "drop" }, input);

  async function read(file) {
    if (!file) return;
    const kind = file.type.startsWith("video/") ? "clip" : "picture";
    if (!accept.includes(file.type)) return problem(`${file.name} is no ${what.slice(2)} that can be used here.`);
    problem("");
    const url = URL.createObjectURL(file);
    const length = kind === "clip" ? await duration(url) : undefined;
    if (kind === "clip" && !length) return problem(`${file.name} cannot be played by this browser.`);
    onitem({ kind, file, url, name: file.name, seconds: length });
  }
  zone.ondragover = event => { event.preventDefault(); zone.classList.add("over"); };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = event => { event.preventDefault(); zone.classList.remove("over"); read(event.dataTransfer.files[0]); };
  if (item) {
    const shown = item.kind === "clip" && !item.still
      ? el("video", { src: item.url, muted: true, loop: true, autoplay: true, playsInline: true })
      : el("img", { src: item.url, alt: "" });
    zone.append(el("div", {}, shown, el("span", { className: "quiet" }, item.name)),
      el("button", { type: "button", ariaLabel: `Remove ${name.toLowerCase()}`, title: "Remove", onclick: () => onitem(null) }, "✕"));
  } else {
    zone.append(el("div", {}, el("strong", {}, name), el("div", { className: "quiet" }, `Drop ${what}, or choose one${optional ? "; may be left out" : ""}`)));
  }
  return zone;
}

export function dataUrl(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

function duration(url) {
  return new Promise(done => {
    const video = el("video", { preload: "metadata", muted: true });
    video.onloadedmetadata = () => done(Number.isFinite(video.duration) ? video.duration : 0);
    video.onerror = () => done(0);
    video.src = url;
  });
}
