// The form that makes a video: what to do, what is given, a timeline of what will be new.

import { call } from "/studio/api.js";
import { $, attempt, button, el, problem, say, seconds } from "/studio/dom.js";
import { dropZone } from "/studio/drop.js";

const MODES = {
  create: { name: "Create", hint: "From words; a picture, if you give one, is the first frame.", slots: ["First frame"] },
  extend: { name: "Extend", hint: "Goes on from a clip, after its end or before its beginning.", slots: ["Clip"] },
  loop: { name: "Loop", hint: "Ends where it begins, so that it can run forever.", slots: ["First frame"] },
  bridge: { name: "Bridge", hint: "Leads from one picture or clip to another.", slots: ["Beginning", "End"] },
  edit: { name: "Edit", hint: "Makes a clip anew, or the part of it that you mark.", slots: ["Clip"] },
};
const form = $("compose");
const state = { mode: "create", slots: [null, null], direction: "forward", can: {}, size: "" };
const field = name => form.elements.namedItem(name);
const value = (name, other) => Number(field(name)?.value || other);

// `can`: which modes the server knows; `made(video)` is told of each new job.
export function startCompose(can, size, made) {
  Object.assign(state, { can, size });
  for (const [mode, { name }] of Object.entries(MODES)) {
    if (!can[mode]) continue;
    const radio = el("input", { type: "radio", name: "mode", value: mode, checked: mode === state.mode,
      onchange: () => choose(mode) });
    $("modes").append(el("label", {}, radio, name));
  }
  form.onsubmit = event => {
    event.preventDefault();
    attempt(() => send(made));
  };
  form.oninput = () => { draw(); estimate(); };
  field("prompt").onkeydown = event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  };
  choose("create");
}

// Take a finished video into the form: "extend", "edit", or "again" with the same words and seed.
export function take(video, what, poster) {
  field("prompt").value = video.prompt;
  if (what === "again") {
    field("seed").value = video.x_seed;
    $("more").open = true;
    choose("create");
  } else {
    state.slots[0] = { kind: "clip", id: video.id, name: `video of ${seconds(video.seconds)}`, url: poster, still: true, seconds: Number(video.seconds) };
    choose(what);
  }
  $("main").scrollIntoView();
  field("prompt").focus({ preventScroll: true });
  field("prompt").select();
}

function choose(mode) {
  state.mode = mode;
  for (const radio of form.querySelectorAll("[name=mode]")) radio.checked = radio.value === mode;
  $("hint").textContent = MODES[mode].hint;
  drawInputs();
  drawFields();
  draw();
  estimate();
}

function drawInputs() {
  const clipOnly = ["extend", "edit"].includes(state.mode);
  const clips = clipOnly || state.mode === "bridge";
  $("inputs").replaceChildren(...MODES[state.mode].slots.map((name, index) => dropZone({
    name, optional: ["create", "loop"].includes(state.mode), clips: clips || state.can.extend, pictures: !clipOnly,
    item: fits(state.slots[index]) ? state.slots[index] : null,
    onitem: item => {
      state.slots[index] = item;
      if (item?.kind === "clip" && !clips) choose("extend");
      else { drawInputs(); drawFields(); draw(); estimate(); }
    },
  })));
}

function fits(item) {
  if (!item) return false;
  if (["extend", "edit"].includes(state.mode)) return item.kind === "clip";
  return state.mode === "bridge" || item.kind === "picture";
}
const slot = index => (fits(state.slots[index]) ? state.slots[index] : null);

function drawFields() {
  const kept = { seconds: field("seconds")?.value ?? 2, size: field("size")?.value ?? state.size };
  const nodes = [];
  const length = slot(0)?.seconds ?? 4;
  const number = (name, text, props) => el("label", {}, text, el("input", { name, type: "number", step: "any", ...props }));
  if (state.mode === "edit") {
    nodes.push(number("start", "New from (s)", { min: 0, max: length, value: 0 }),
      number("end", "to (s)", { min: 0, max: length, value: Number(length.toFixed(2)) }),
      el("label", {}, "Freedom", el("input", { name: "strength", type: "range", min: 0.05, max: 1, step: 0.05, value: 0.7 })));
  } else {
    nodes.push(number("seconds", state.mode === "extend" ? "New seconds" : "Seconds", { min: 1, max: 60, value: kept.seconds, required: true }));
  }
  if (["create", "loop", "bridge"].includes(state.mode)) {
    const select = el("select", { name: "size" }, ...sizes().map(([size, name]) => el("option", { value: size }, name)));
    select.value = kept.size;
    if (!select.value) select.value = state.size;
    nodes.push(el("label", {}, "Size", select));
  }
  $("fields").replaceChildren(...nodes);
}

function sizes() {
  const [width, height] = state.size.split("x").map(Number);
  const long = Math.max(width, height), even = side => Math.max(16, 2 * Math.round(side / 2));
  const all = [[state.size, `${state.size}, the model's own`], [`${long}x${even(long * 9 / 16)}`, "16:9"],
    [`${even(height)}x${even(height)}`, "1:1"], [`${even(long * 9 / 16)}x${long}`, "9:16"]];
  return all.map(([size, name], index) => [size, index ? `${size}, ${name}` : name]);
}

// The timeline: given parts are grey, new ones striped.
function draw() {
  const parts = [], add = (kind, length, text) => parts.push({ kind, length, text });
  const fresh = value("seconds", 2), first = slot(0), last = slot(1);
  if (state.mode === "edit") {
    if (!first) return $("timeline").replaceChildren();
    const length = first.seconds ?? 4, start = Math.min(value("start", 0), length), end = Math.max(start, Math.min(value("end", length), length));
    add("given", start, "kept");
    add("new", end - start, "made anew");
    add("given", length - end, "kept");
  } else if (state.mode === "extend") {
    const given = first?.seconds ?? 2, text = first ? `given ${seconds(given)}` : "your clip";
    add("given", given, text);
    state.direction === "forward" ? add("new", fresh, `new ${seconds(fresh)}`) : parts.unshift({ kind: "new", length: fresh, text: `new ${seconds(fresh)}` });
  } else {
    // What is given here is part of the seconds that are asked for; a picture is one frame of them.
    const ends = [first, state.mode === "bridge" ? last : null];
    const left = Math.max(0, fresh - ends.reduce((sum, item) => sum + (item?.seconds ?? 0), 0));
    const end = (item, word) => { if (item) add("given", item.seconds ?? 0, item.kind === "clip" ? seconds(item.seconds) : word); };
    end(first, "first");
    add("new", left, state.mode === "loop" ? `↻ new ${seconds(left)} ↻` : `new ${seconds(left)}`);
    end(ends[1], "last");
  }
  const track = el("div", { className: "track" });
  for (const { kind, length, text } of parts.filter(part => part.length > 0 || part.kind === "given" && part.text !== "kept")) {
    const node = el("div", { className: `part ${kind}` }, text);
    node.style.flexGrow = length;
    track.append(node);
  }
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  if (state.mode === "extend") {
    const turn = direction => { state.direction = direction; draw(); say(`new part ${direction === "forward" ? "after" : "before"} the clip`); };
    const plus = (direction, label) => button("+", () => turn(direction), { className: "part add", title: label, ariaLabel: label });
    if (state.direction === "forward") track.prepend(plus("backward", "Put the new part before the clip"));
    else track.append(plus("forward", "Put the new part after the clip"));
  }
  $("timeline").replaceChildren(track, el("div", { className: "scale" }, el("span", {}, "0 s"), el("span", {}, seconds(total))));
}

function body() {
  const form = new FormData($("compose")), fields = {};
  for (const name of ["prompt", "negative_prompt", "seed", "steps", "guidance", "seconds", "size"]) {
    const text = form.get(name)?.trim?.();
    if (text) fields[name] = ["prompt", "negative_prompt", "size"].includes(name) ? text : Number(text);
  }
  if (state.mode === "loop") fields.loop = true;
  if (state.mode === "extend") fields.direction = state.direction;
  if (state.mode === "edit") {
    const length = slot(0)?.seconds ?? 0, start = value("start", 0), end = value("end", length);
    if (start > 0) fields.start = start;
    if (end < Number(length.toFixed(2))) fields.end = end;
    fields.strength = value("strength", 0.7);
  }
  return fields;
}

let timer, asked;
function estimate() {
  clearTimeout(timer);
  asked?.abort();
  $("cost").textContent = "";
  if (!["create", "loop"].includes(state.mode)) return;
  timer = setTimeout(async () => {
    const json = { prompt: "a", ...body() };
    asked = new AbortController();
    try {
      const cost = await call("/v1/videos/estimate", { method: "POST", json, signal: asked.signal });
      if (cost.device_seconds !== null) {
        $("cost").textContent = `about ${seconds(cost.device_seconds)} of work, done in ${seconds(cost.eta_s)}`;
      }
    } catch { /* the form itself says what is wrong when it is sent */ }
  }, 300);
}

const PATHS = { create: "/v1/videos", loop: "/v1/videos", bridge: "/v1/videos", extend: "/v1/videos/extensions", edit: "/v1/videos/edits" };

async function send(made) {
  const fields = body(), files = new FormData(), [first, last] = [slot(0), slot(1)];
  if (["extend", "edit"].includes(state.mode) && !first) throw new Error("Give the clip first: drop it above, or press Extend or Edit at a video.");
  if (state.mode === "bridge" && !(first && last)) throw new Error("A bridge needs its beginning and its end.");
  if (state.mode === "bridge") {
    [[first, "0"], [last, "end"]].forEach(([item, at], index) => {
      const name = `keyframes[${index}]`;
      files.append(`${name}[at]`, at);
      if (item.id) files.append(`${name}[video][id]`, item.id);
      else files.append(`${name}[${item.kind === "clip" ? "video" : "image"}]`, item.file);
    });
  } else if (first?.id) files.append("video[id]", first.id);
  else if (first) files.append(first.kind === "clip" ? "video" : "input_reference", first.file);
  for (const [name, entry] of Object.entries(fields)) files.append(name, entry);
  const plain = [...files.keys()].every(name => name in fields);
  $("go").disabled = true;
  try {
    const video = await call(PATHS[state.mode], plain ? { method: "POST", json: fields } : { method: "POST", form: files });
    say("Queued.");
    made(video);
  } catch (error) {
    const wrong = error.param && field(error.param);
    problem(error.message);
    if (wrong?.focus) wrong.focus();
    if (!error.param) throw error;
  } finally {
    $("go").disabled = false;
  }
}
