// What the model was trained on, in plain words; and the tab's API key.

import { call, key, setKey } from "/studio/api.js";
import { $, el, plural } from "/studio/dom.js";

export function startAbout(model) {
  $("model").replaceChildren(`version ${model.x_version}`, el("span", { className: "model-more" }, "what is it?"));
  $("model").onclick = async () => {
    $("about").showModal();
    const [training, health] = await Promise.all([
      call(`/v1/models/${model.id}/training`).catch(() => null),
      call("/healthz").catch(() => null),
    ]);
    $("about-text").replaceChildren(...words(model, training, health));
  };
}

// `onchange` is called when the user gave a key or took it back.
export function startKeys(onchange) {
  const mark = () => { $("key").textContent = key() ? "API key ✓" : "API key"; };
  mark();
  $("key").onclick = () => $("keys").showModal();
  $("key-form").onsubmit = event => {
    setKey(event.submitter.value === "save" ? $("key-form").elements.key.value.trim() : "");
    $("key-form").elements.key.value = "";
    mark();
    onchange();
  };
}

function words(model, training, health) {
  const facts = [["Version", model.x_version], ["Makes", `${model.x_size.replace("x", " × ")} pixels, ${model.x_fps} frames a second`]];
  const nodes = [];
  if (training?.release) {
    facts.push(["Trained on", `release ${training.release}`]);
    if (training.films !== null) facts.push(["Footage", `${plural(training.films, "film")}, ${plural(training.clips, "clip")}, ${hours(training.hours)}`]);
    if (training.training_clips) facts.push(["Learned from", plural(training.training_clips, "clip")]);
    if (training.made_at) facts.push(["Release made", new Date(training.made_at * 1000).toLocaleDateString("en", { dateStyle: "long" })]);
    if (training.mlflow_run_id) facts.push(["Training run", training.mlflow_run_id]);
    const licences = Object.entries(training.licences ?? {});
    if (licences.length) facts.push(["Licences", licences.map(([name, count]) => `${name || "none recorded"}: ${plural(count, "film")}`).join("; ")]);
    nodes.push(el("p", {}, "It learned from this team's own footage and from nothing else that is recorded here. It can show what is in that footage, and little beyond."));
  } else {
    nodes.push(el("p", {}, "What it was trained on is not recorded on this server."));
  }
  nodes.push(el("dl", {}, ...facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, String(text))])));
  const signed = health?.provenance;
  if (signed) {
    const trust = signed.certificate === "self-made" ? " The certificate is this server's own: other programs read the signature but do not know the signer." : "";
    nodes.push(el("p", { className: "quiet" }, `Every file says that a model made it, in signed C2PA provenance by ${signed.subject.split(",")[0].replace("CN=", "")}.${trust} “reel lineage FILE” follows it back to the films.`));
  }
  return nodes;
}

const hours = value => (value >= 1 ? `${value.toFixed(1)} hours` : `${(value * 60).toFixed(1)} minutes`);
