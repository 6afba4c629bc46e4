// The studio begins here: ask the server what it can, then show that.

import { call, key } from "/studio/api.js";
import { startAbout, startKeys } from "/studio/about.js";
import { startCompose, take } from "/studio/compose.js";
import { $, attempt, el, problem } from "/studio/dom.js";
import { clear, page, show, startGallery } from "/studio/gallery.js";
import { openWork, WORKS } from "/studio/works.js";

const tabs = [["create", "Create"]];
let started = false;

async function start() {
  const api = await call("/openapi.json");
  const paths = api.paths, fields = Object.keys(schema(paths["/v1/videos"]));
  const can = { create: true, extend: "/v1/videos/extensions" in paths, loop: fields.includes("loop"),
    bridge: fields.includes("keyframes"), edit: "/v1/videos/edits" in paths };
  const model = await firstModel();
  if (!model) return;
  started = true;
  startAbout(model);
  if ("/v1/workflows/{kind}" in paths) tabs.push(...await known());
  startCompose(can, model.x_size, video => show(video));
  startGallery((what, video, poster) => take(video, what, poster), can.edit);
  addEventListener("hashchange", route);
  route();
}

function schema(path) {
  const content = path?.post?.requestBody?.content ?? {};
  return content["application/json"]?.schema?.properties ?? {};
}

// The served model; null when a key is needed first, which the user is asked for.
async function firstModel() {
  try {
    return (await call("/v1/models")).data[0];
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    $("model").textContent = "key needed";
    if (key()) problem(error.message);
    $("keys").showModal();
    return null;
  }
}

// The workflows that this server makes.
async function known() {
  const found = await Promise.all(Object.entries(WORKS).map(async ([kind, { name }]) => {
    try {
      await call(`/v1/workflows?kind=${kind}&limit=1`);
      return [kind, name];
    } catch (error) {
      if (error.status === 404 || error.status === 400) return null;
      throw error;
    }
  }));
  return found.filter(Boolean);
}

function route() {
  const wanted = location.hash.slice(1), kind = tabs.some(([tab]) => tab === wanted) ? wanted : "create";
  $("tabs").replaceChildren(...(tabs.length > 1 ? tabs : []).map(([tab, name]) =>
    el("a", { href: `#${tab}`, "aria-current": tab === kind ? "page" : null }, name)));
  $("create").hidden = kind !== "create";
  $("work").hidden = kind === "create";
  problem("");
  scrollTo(0, 0);
  if (kind !== "create") attempt(() => openWork(kind));
}

startKeys(() => attempt(async () => {
  if (!started) return start();
  clear();
  await page();
}));
attempt(start);
