// The workflows: a plan as a form (or as JSON), and what became of each.

import { call, download, follow, media } from "/studio/api.js";
import { $, attempt, button, el, plural, say, seconds, sketch } from "/studio/dom.js";
import { input, values } from "/studio/inputs.js";
import { WORKS } from "/studio/plans.js";

export { WORKS };

const LOOK_MS = 1500;
const pages = new Map(); // kind → { form, list, works }
const followed = new Set(); // the take whose previews are shown; browsers keep few connections
let shown = null, timer;

export async function openWork(kind) {
  shown = kind;
  if (!pages.has(kind)) pages.set(kind, newPage(kind));
  const { form, side } = pages.get(kind);
  $("work").replaceChildren(form, side);
  await look(kind);
}

function newPage(kind) {
  const spec = WORKS[kind], list = el("div"), works = new Map();
  const form = el("form", { className: "card", ariaLabel: spec.name });
  const groups = spec.groups.map(group => rows(group, form));
  const plan = () => collect(form, spec, groups);
  const code = el("textarea", { className: "code", spellcheck: false, ariaLabel: "The plan as JSON" });
  const json = el("details", {}, el("summary", {}, "The plan as JSON"), el("p", { className: "quiet" }, "What is written here is sent in place of the form; the API and “reel " + kind + "” take the same."), code);
  json.ontoggle = () => { code.value = json.open ? JSON.stringify(plan(), null, 2) : ""; };
  const wanted = () => {
    if (!json.open) return plan();
    try { return JSON.parse(code.value); } catch (error) { throw new Error(`The plan is no JSON: ${error.message}`); }
  };
  const cost = el("output", { className: "quiet" });
  form.append(el("h2", {}, spec.name), el("p", { className: "quiet" }, spec.about),
    ...spec.fields.map(input), ...groups.map(group => group.node), json,
    el("div", { className: "send" }, el("button", { className: "main" }, "Make it"),
      button("Estimate", async () => { cost.textContent = estimated(await call(`/v1/workflows/${kind}/estimate`, { method: "POST", json: wanted() })); }), cost));
  form.onsubmit = event => {
    event.preventDefault();
    attempt(async () => {
      try {
        place(kind, await call(`/v1/workflows/${kind}`, { method: "POST", json: wanted() }), true);
        say("Begun.");
      } catch (error) {
        point(form, error.param);
        throw error;
      }
    });
  };
  const empty = el("div", { className: "empty" }, el("p", {}, "Nothing here yet."), el("p", { className: "quiet" }, spec.gives));
  return { form, side: el("section", { ariaLabel: `${spec.name}: what was made` }, list, empty), list, empty, works };
}

// A list of parts of the plan, such as shots, of which the user adds as many as it takes.
function rows(group) {
  const list = el("div", { className: "rows" });
  list.dataset.group = group.name;
  const add = () => {
    const index = list.children.length + 1;
    const item = el("div", { className: "item", role: "group", ariaLabel: `${group.one} ${index}` });
    const title = el("h3", {}, `${group.one} ${index}`);
    const part = { area: [], picture: [], other: [] };
    for (const field of group.fields) (part[field[2]] ?? part.other).push(input(field));
    item.append(el("div", { className: "row" }, title, button("Remove", () => { item.remove(); number(); }, { ariaLabel: `Remove ${group.one.toLowerCase()} ${index}` })),
      ...part.area, el("div", { className: "grid" }, ...part.other), ...part.picture);
    const kind = group.by && item.querySelector(`[name="${group.by}"]`);
    const fit = () => item.querySelectorAll("[data-when]").forEach(node => { node.hidden = !node.dataset.when.split(" ").includes(kind.value); });
    if (kind) { kind.onchange = fit; fit(); }
    list.append(item);
    return item;
  };
  const number = () => [...list.children].forEach((item, at) => {
    item.ariaLabel = item.querySelector("h3").textContent = `${group.one} ${at + 1}`;
  });
  for (let index = 0; index < (group.least ?? 1); index++) add();
  const node = el("div", { className: "rows" }, list, el("div", {}, button(`+ ${group.one}`, () => add().querySelector("input, textarea, select")?.focus())));
  return { ...group, node, list };
}

function collect(form, spec, groups) {
  const assets = new Map(); // picture → its name in the plan
  const plan = values(form, spec.fields, assets);
  for (const group of groups) {
    const items = [...group.list.children].map(item => values(item, group.fields, assets)).filter(item => Object.keys(item).length);
    items.forEach((item, index) => { if (group.id) item.id ??= `${group.id}${String(10 * (index + 1)).padStart(3, "0")}`; });
    if (items.length) plan[group.name] = items;
  }
  if (assets.size) plan.assets = Object.fromEntries([...assets].map(([picture, name]) => [name, picture]));
  return spec.finish ? spec.finish(plan) : plan;
}

// `shots[1].prompt` focuses the field that the server did not like.
function point(form, path) {
  const [, group, index, name] = /^(?:(\w+)\[(\d+)\]\.)?([\w.]+)$/.exec(path ?? "") ?? [];
  const item = group && form.querySelector(`[data-group="${group}"]`)?.querySelectorAll(".item")[Number(index)];
  const scope = item || form;
  const node = scope.querySelector(`[name="${CSS.escape(name ?? "")}"]`);
  (node?.type === "hidden" ? node.parentNode.querySelector("[type=file]") : node)?.focus();
}

function estimated(cost) {
  const work = cost.device_seconds === null ? "time not known before the first job" : `about ${seconds(cost.device_seconds)} of work`;
  return `${cost.generations ?? cost.shots} to generate, ${work}`;
}

async function look(kind) {
  clearTimeout(timer);
  if (shown !== kind || $("work").hidden) return;
  const list = await call(`/v1/workflows?kind=${kind}&limit=20`);
  [...list.data].reverse().forEach(work => place(kind, work, true));
  const page = pages.get(kind);
  page.empty.hidden = page.works.size > 0;
  timer = setTimeout(() => attempt(() => look(kind)), LOOK_MS);
}

function place(kind, work, before) {
  const page = pages.get(kind), state = JSON.stringify(work), known = page.works.get(work.id);
  if (known?.state === state) return;
  const node = draw(kind, work, known?.node);
  const entry = { node, state, preview: known?.preview };
  if (known) known.node.replaceWith(node);
  else before ? page.list.prepend(node) : page.list.append(node);
  page.works.set(work.id, entry);
  page.empty.hidden = true;
  preview(entry);
  watch(work);
}

// What is being made, until there is a film.
function preview(entry) {
  if (!entry.preview || !entry.node.querySelector(":scope > progress")) return;
  let box = entry.node.querySelector(".screen");
  if (box?.dataset.mark) return;
  if (!box) entry.node.prepend(box = el("div", { className: "screen" }));
  sketch(box, entry.preview);
}

function watch(work) {
  const takes = (work.shots ?? []).flatMap(shot => shot.takes);
  const id = takes.find(take => take.status === "in_progress" && take.video_id?.startsWith("video_"))?.video_id;
  if (!id || followed.size) return;
  followed.add(id);
  follow(`/v1/videos/${id}/events`, (type, data) => {
    const now = pages.get(work.kind).works.get(work.id);
    if (type !== "video.preview" || !now) return;
    now.preview = data.image;
    preview(now);
  }).then(() => followed.delete(id));
}

function draw(kind, work, old) {
  const running = ["queued", "in_progress"].includes(work.status);
  const post = (path, json) => async () => place(kind, await call(`/v1/workflows/${work.id}/${path}`, { method: "POST", json }));
  const node = el("article", { id: work.id, ariaLabel: `${work.title}: ${work.status}` },
    el("div", { className: "row" }, el("h2", {}, work.title), el("span", { className: `chip ${{ completed: "good", failed: "bad" }[work.status] ?? ""}` }, work.status.replace("_", " "))));
  if (running) node.append(el("progress", { max: 100, value: work.progress, ariaLabel: "progress" }), el("p", { className: "quiet" }, `${work.progress} %${work.waiting_for ? `, waiting for ${work.waiting_for}` : ""}`));
  if (work.error) node.append(el("p", { className: "broken" }, work.error.message));
  if (work.files?.length) node.append(el("ul", { className: "files" }, ...work.files.map(file => el("li", {},
    button("", () => download(file.url, file.name.split("/").pop()), { ariaLabel: `Download ${file.name}` })))));
  [...node.querySelectorAll(".files button")].forEach((node, index) => {
    const file = work.files[index];
    node.append(el("span", {}, file.name), el("span", { className: "quiet" }, size(file.size_bytes ?? file.bytes)));
  });
  node.prepend(...screenOf(work, old));
  node.append(takes(work, post, old?.querySelector("details")?.open));
  const row = el("div", { className: "row" });
  if (work.status === "completed") row.append(button("Download all (zip)", () => download(`/v1/workflows/${work.id}/bundle`, `${work.title}.zip`)));
  if (work.status === "awaiting_review") row.append(button("Approve…", async () => {
    const reviewer = prompt("Who approves of it?");
    if (reviewer) await post("approve", { reviewer })();
  }));
  row.append(running ? button("Cancel", post("cancel")) : button("Delete", async () => {
    await call(`/v1/workflows/${work.id}`, { method: "DELETE" });
    pages.get(kind).works.delete(work.id);
    node.remove();
  }));
  node.append(row);
  return node;
}

// The first film of a work to play, or its first picture; what plays already goes on.
function screenOf(work, old) {
  const files = work.files ?? [], shown = old?.querySelector(".screen");
  const still = files.find(file => file.media_type.startsWith("image/") && file.bytes < 8e6);
  const film = files.find(file => file.media_type === "video/mp4");
  if (!still && !film) return [];
  const mark = `${work.built_revision} ${still?.url} ${film?.url}`;
  if (shown?.dataset.mark === mark) return [shown];
  const box = el("div", { className: "screen" });
  box.dataset.mark = mark;
  if (still) {
    const picture = el("img", { alt: still.name });
    attempt(async () => { picture.src = await media(still.url); });
    box.append(picture);
  }
  if (film) box.append(button("▶", async () => {
    const video = el("video", { src: await media(film.url), controls: true, loop: true, autoplay: true, muted: true, playsInline: true });
    box.replaceChildren(video);
    video.focus();
  }, { className: "play", ariaLabel: `Play ${film.name}` }));
  return [box];
}

function takes(work, post, isOpen) {
  const all = work.shots ?? [];
  const node = el("details", { open: isOpen ?? false }, el("summary", {}, `${plural(all.length, "shot")}, ${plural(all.reduce((sum, shot) => sum + shot.takes.length, 0), "take")}`));
  for (const shot of all) {
    const row = el("div", { className: "chips" }, el("strong", {}, shot.id));
    for (const take of shot.takes) {
      const words = `take ${take.take}${take.take === shot.chosen ? " ✓" : ""} · ${take.status === "completed" ? `seed ${take.seed}` : `${take.progress} %`}`;
      row.append(take.status === "completed" && take.take !== shot.chosen
        ? button(words, post(`shots/${shot.id}/choose`, { take: take.take }), { className: "chip", title: "Show this take" })
        : el("span", { className: `chip ${take.take === shot.chosen ? "good" : ""}`, title: take.error ?? take.prompt }, words));
    }
    row.append(button("+ take", post(`shots/${shot.id}/retake`, {}), { className: "chip", title: "Make one more take of this shot" }));
    node.append(row);
  }
  return node;
}

const size = bytes => (bytes === undefined ? "" : bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
