// All videos, newest first: what they are, what they were made from, how far they are.

import { call, download, follow, media } from "/studio/api.js";
import { $, attempt, button, el, say, seconds, sketch } from "/studio/dom.js";

const FOLLOWED = 3; // browsers keep few connections to one host
const LOOK_MS = 1500;
const cards = new Map();
const following = new Set();
const said = new Map(); // the prompt of each video that was seen
let last = null, act = () => {};

export async function startGallery(onact, canEdit) {
  act = Object.assign(onact, { canEdit });
  $("older").onclick = () => attempt(() => page(last));
  await page();
  look();
}

export async function page(after) {
  const list = await call(`/v1/videos?limit=24${after ? `&after=${after}` : ""}`);
  list.data.forEach(video => said.set(video.id, video.prompt));
  list.data.forEach(video => show(video, false));
  last = list.last_id ?? last;
  $("older").hidden = !list.has_more;
  count();
}

export function clear() {
  for (const id of [...cards.keys()]) remove(id);
}

const open = video => video.status === "queued" || video.status === "in_progress";
const count = () => { $("empty").hidden = cards.size > 0; };

function remove(id) {
  cards.get(id)?.node.remove();
  cards.delete(id);
  count();
}

// Put a video into the gallery, or what is new of it.
export function show(video, before = true) {
  let card = cards.get(video.id);
  if (!card) {
    card = { node: el("article", { id: video.id, tabIndex: -1 }), began: performance.now() };
    cards.set(video.id, card);
    before ? $("gallery").prepend(card.node) : $("gallery").append(card.node);
    count();
  }
  said.set(video.id, video.prompt);
  const was = card.video?.status;
  card.video = video;
  if (was !== video.status) {
    card.node.replaceChildren(screen(card), about(card));
    card.node.ariaLabel = `${video.status}: ${video.prompt.slice(0, 80)}`;
    if (was && !open(video)) say(`${video.status}: ${video.prompt.slice(0, 60)}`);
  }
  if (open(video)) {
    const { stage, queue_position, eta_s } = video.x_progress ?? {};
    progress(card, video.progress, stage, queue_position, eta_s);
    watch(video.id);
  }
}

function screen(card) {
  const { video } = card, box = el("div", { className: "screen" });
  if (video.status === "failed") {
    box.append(el("p", { className: "broken" }, video.error?.message ?? "It failed."));
  } else if (open(video)) {
    card.bar = el("progress", { max: 100, value: video.progress, ariaLabel: "progress" });
    card.text = el("span", {}, video.status.replace("_", " "));
    card.left = el("span");
    box.append(el("div", { className: "wait" }, el("div", { className: "row" }, card.text, card.left), card.bar));
    sketch(box, card.preview);
  } else {
    const path = `/v1/videos/${video.id}/content`;
    const poster = el("img", { alt: `First frame: ${video.prompt.slice(0, 120)}`, loading: "lazy" });
    attempt(async () => { poster.src = card.poster = await media(`${path}?variant=thumbnail`); });
    const play = button("▶", async () => {
      const film = el("video", { src: await media(path), controls: true, loop: true, autoplay: true, muted: true, playsInline: true, poster: card.poster });
      box.replaceChildren(film);
      film.focus();
    }, { className: "play", ariaLabel: "Play" });
    box.append(poster, play);
  }
  return box;
}

function progress(card, percent, stage, before, eta) {
  if (!card.bar?.isConnected) return;
  card.bar.value = percent;
  const wait = stage === "queued" && before ? `, ${before} before it` : "";
  card.text.textContent = `${percent} % ${stage ?? ""}${wait}`;
  card.left.textContent = eta ? `about ${Math.ceil(eta)} s` : "";
}

function about(card) {
  const { video } = card, chips = el("div", { className: "chips" });
  const chip = (text, kind = "") => chips.append(el("span", { className: `chip ${kind}` }, text));
  chip(seconds(video.seconds));
  chip(video.size.replace("x", "×"));
  chips.append(button(`seed ${video.x_seed}`, () => act("again", video, card.poster), { className: "chip", title: "Take these words and this seed into the form" }));
  chip(`version ${video.x_model_version}`);
  const links = [["extends", video.x_extends_video_id], ["edit of", video.x_edits_video_id], ["remix of", video.remixed_from_video_id]];
  for (const [word, id] of links) if (id) chips.append(parent(word, id));
  const row = el("div", { className: "row" });
  if (video.status === "completed") {
    row.append(button("Extend", () => act("extend", video, card.poster)));
    if (act.canEdit) row.append(button("Edit", () => act("edit", video, card.poster)));
    row.append(button("Download", () => download(`/v1/videos/${video.id}/content`, `${video.id}.mp4`)));
  }
  if (open(video)) row.append(button("Cancel", async () => show(await call(`/v1/videos/${video.id}/cancel`, { method: "POST" }))));
  else row.append(button("Delete", async () => {
    await call(`/v1/videos/${video.id}`, { method: "DELETE" });
    remove(video.id);
  }));
  return el("div", { className: "about" }, el("div", {}, el("p", { className: "prompt", title: video.prompt }, video.prompt)), chips, row);
}

function parent(word, id) {
  const link = el("a", { className: "chip", href: `#${id}` }, `${word} `, said.get(id)?.slice(0, 40) ?? id.slice(-8));
  link.onclick = event => {
    event.preventDefault();
    attempt(async () => {
      if (!cards.has(id)) show(await call(`/v1/videos/${id}`), false);
      const { node } = cards.get(id);
      node.scrollIntoView({ block: "center" });
      node.focus({ preventScroll: true });
      node.classList.add("lit");
      setTimeout(() => node.classList.remove("lit"), 2500);
    });
  };
  return link;
}

// A few jobs are followed event by event; the rest are looked at from time to time.
function watch(id) {
  if (following.has(id) || following.size >= FOLLOWED) return;
  following.add(id);
  follow(`/v1/videos/${id}/events`, (type, data) => heard(id, type, data)).then(async () => {
    following.delete(id);
    const card = cards.get(id);
    if (card && open(card.video)) await renew(id);
  });
}

function heard(id, type, data) {
  const card = cards.get(id);
  if (!card) return;
  if (type === "video.deleted") remove(id);
  else if (data.video) show(data.video);
  else if (type === "video.queued") progress(card, 0, "queued");
  else if (type === "video.in_progress") {
    card.began = data.at;
    progress(card, 0, "starting");
  } else if (type === "video.preview") {
    card.preview = data.image;
    if (open(card.video)) sketch(card.node.querySelector(".screen"), data.image);
  } else if (type === "video.progress") {
    const done = data.progress ?? 0, spent = data.at - card.began;
    progress(card, done, data.stage, 0, done >= 10 ? (spent * (100 - done)) / done : null);
  }
}

async function renew(id) {
  try {
    show(await call(`/v1/videos/${id}`));
  } catch (error) {
    if (error.status === 404) remove(id);
  }
}

async function look() {
  for (const [id, card] of cards) {
    if (open(card.video) && !following.has(id)) await renew(id);
  }
  setTimeout(look, LOOK_MS);
}
