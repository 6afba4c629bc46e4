"""What the demo finds out about the served model while the services run: videos and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.demo.data_figures import Truth, data_figures
from flows.demo.examples import choose
from flows.demo.figures import Figure
from flows.demo.history import DoneJob
from flows.demo.places import Places
from flows.demo.scene import Attributes
from flows.demo.showreel import Showreel, Take
from flows.demo.stages import Stages
from infra.job_files import read_json
from infra.lake import Lake

if TYPE_CHECKING:
    from infra.tracking import ModelVersion
    from modeling.bundle import Bundle
    from modeling.generate import Generator


@dataclass(kw_only=True)
class Findings:
    """What was found; `model` are facts of the served version."""

    figures: dict[str, Figure] = field(default_factory=dict)
    takes: list[Take] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)


def find_out(places: Places, stages: Stages, release: str, jobs: Mapping[str, DoneJob]) -> Findings:
    """Ask the served model for videos, then measure it on the release it was trained on.

    `jobs` are the chain's: of the evaluation and the deployment.
    """
    import openai
    import torch

    from infra.tracking import Tracking
    from modeling.allocator import keep_freed_memory
    from modeling.bundle import load_bundle
    from modeling.generate import Generator

    settings = places.settings
    keep_freed_memory()  # as the served engine does,
    torch.set_num_threads(settings.cpu_count)  # which has as many
    tracking = Tracking(settings.mlflow_url)
    version = tracking.version(jobs["deploy"].result["version"])
    folder = tracking.download(version.version, settings.home / "models" / version.version)
    bundle = load_bundle(folder)
    bench = _Bench(
        places=places,
        stages=stages,
        truth=_truth(places),
        lake=Lake(settings.lake_uri),
        release=release,
        generator=Generator(bundle),
        client=openai.OpenAI(base_url=f"{settings.serve_url}/v1", api_key="none"),
    )
    findings = Findings(model=_model_facts(bundle, version))
    with stages.stage("videos", "Asking the served model, with the openai client"):
        findings.takes = bench.takes()
    with stages.stage("figures", "Measuring"):
        findings.figures = evaluated_figures(jobs["evaluate"].result["measures"])
        findings.figures |= bench.figures(bundle, findings.takes)
    return findings


@dataclass(frozen=True, kw_only=True)
class _Bench:
    places: Places
    stages: Stages
    truth: Truth | None
    lake: Lake
    release: str
    generator: "Generator"
    client: Any

    @property
    def unseen(self) -> list[Attributes]:
        return [Attributes(**entry) for entry in self.truth.world["unseen"]] if self.truth else []

    def takes(self) -> list[Take]:
        reel = Showreel(self.client, self.generator, self.places.outputs, self.stages.say)
        reel.shoot(choose(self.lake, self.release, self.unseen))
        return reel.takes

    def figures(self, bundle: "Bundle", takes: Sequence[Take]) -> dict[str, Figure]:
        from flows.demo.serve_figures import serve_over_sampler

        found: dict[str, Figure] = {}
        if self.truth is not None:
            self.stages.say("shots, quarantine, duplicates, captions against the truth")
            found |= data_figures(self.lake, self.release, self.truth)
            found |= self._model_figures(bundle, self.truth)
        self.stages.say("requests over HTTP beside the bare sampler")
        height, width = self.generator.native_size(4, 3)
        found["serve_over_sampler"] = serve_over_sampler(
            self.client, self.generator, takes[0].prompt, (8 * width, 8 * height)
        )
        return found

    def _model_figures(self, bundle: "Bundle", truth: Truth) -> dict[str, Figure]:
        from flows.demo.model_figures import extend_continuity, prompt_accuracy, vae_oracle
        from modeling.data import load_pixels

        settings = self.places.settings
        clips = load_pixels(
            self.lake,
            self.release,
            bundle.recipe.data,
            settings.home / "training",
            threads=settings.cpu_count,
        )
        columns = ["clip_id", "source_id", "start_frame", "end_frame"]
        rows = self.lake.read("clips", columns, release=self.release).to_pylist()
        sources = self.lake.read("sources", ["uri", "source_id", "status"], release=self.release)
        shows = truth.of_clips(rows, sources.to_pylist())
        self.stages.say("clips through the VAE")
        found = {"vae_oracle": vae_oracle(bundle, clips, shows)}
        self.stages.say("prompts, seen and unseen")
        found |= prompt_accuracy(self.generator, self.unseen)
        self.stages.say("clips continued")
        held_out_first = sorted(clips, key=lambda clip: clip.split != "val")
        found["extend_continuity"] = extend_continuity(self.generator, held_out_first[:64], shows)
        return found


def evaluated_figures(measures: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """The figures that the evaluation job measured already, from its result."""
    return {
        row["name"]: Figure(value=row["value"], n=row["n"], note=row["note"])
        for row in measures
        if row["name"] in ("image_to_video_psnr_db", "loader_wait_share")
    }


def _truth(places: Places) -> Truth | None:
    if places.world is None:
        return None
    truth = read_json(places.world / "truth.json")
    assert truth is not None, "the world was written in this run"
    return Truth(truth, places.footage)


def _model_facts(bundle: "Bundle", version: "ModelVersion") -> dict[str, Any]:
    parameters = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in (("vae", bundle.vae), ("dit", bundle.dit), ("text", bundle.text))
    }
    return {
        "version": version.version,
        "release": bundle.manifest["release"],
        "recipe": bundle.recipe.name,
        "recipe_hash": bundle.manifest["recipe_hash"],
        "mlflow_run_id": version.run_id,
        "parameters": parameters,
        "training_clips": bundle.manifest["training_clips"],
        "fps": bundle.recipe.data.fps,
    }
