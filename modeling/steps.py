"""The steps from a release to a bundle. Each finds what it needs by recipe and release, and running
one again finds it done. Nothing here knows of Ray: `modeling/job.py` decides where a step runs.

    vae       pixels            -> vae.safetensors
    latents   vae, pixels       -> the lake's latents
    dit       latents, captions -> a bundle

What is made of a bundle, its evaluation and a few-step student, is in `bundle_steps.py`.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist

from infra.catalog import Catalog
from infra.errors import InputError
from infra.job_files import JobContext, read_json, write_json
from infra.lake import Lake
from infra.pictures import line_chart
from infra.recipes import fingerprint, from_dict
from infra.releases import ReleaseInfo, get_release
from infra.settings import Settings
from infra.tracking import Run, Tracking
from modeling.bundle import FORMAT, save_bundle
from modeling.codec import VAE
from modeling.data import Clip, load_pixels
from modeling.device import compute_device
from modeling.dit import DiT
from modeling.finetune import finish, start, take_vae
from modeling.latents import measure_statistics, write_latents
from modeling.loader import LatentStore, Loader
from modeling.perceptual import perceptual_loss
from modeling.plan import check_compute
from modeling.recipes import ModelRecipe, OptimizerRecipe
from modeling.text import CaptionEncoder
from modeling.train_dit import SampleMaker, velocity_error
from modeling.train_vae import WindowSampler, start_linear, vae_loss
from modeling.trainer import Counters, Trainer
from modeling.vae import VideoVAE
from modeling.vae_files import (
    adopted_vae,
    check_compression,
    check_patterns,
    read_vae,
    write_vae,
)
from modeling.watch import Watch
from modeling.weights import file_hash

LOG_EVERY_STEPS = 20
CHART = "loss.png"


@dataclass(frozen=True)
class Bench:
    """What every step works with."""

    spec: dict[str, Any]
    context: JobContext
    settings: Settings
    recipe: ModelRecipe
    release: ReleaseInfo
    lake: Lake

    @classmethod
    def open(cls, context: JobContext) -> "Bench":
        settings = Settings()
        catalog = Catalog(settings.catalog_url)
        catalog.migrate()
        recipe = from_dict(ModelRecipe, context.spec["recipe"])
        release = get_release(catalog, context.spec["release"])
        return cls(context.spec, context, settings, recipe, release, Lake(settings.lake_uri))

    @property
    def training(self) -> Path:
        return self.settings.home / "training"

    @property
    def vae_folder(self) -> Path:
        made_by = self.recipe.start_hash or fingerprint(self.recipe.vae)
        key = f"{fingerprint(self.recipe.data)[:8]}-{made_by[:8]}"
        return self.training / f"vae-{self.release.name}-{key}-{self.recipe.seed}"

    @property
    def dit_folder(self) -> Path:
        return self.training / f"dit-{self.release.name}-{fingerprint(self.recipe)}"

    @property
    def vae_hash(self) -> str:
        return file_hash(self.vae_folder / "vae.safetensors")[:16]

    def done(self, step: str) -> dict[str, Any] | None:
        """What a training step that has ended came to; None while it has not."""
        return read_json((self.vae_folder if step == "vae" else self.dit_folder) / "done.json")

    def clips(self) -> list[Clip]:
        """The release's clips, decoded once and kept as a file that later steps map."""
        return load_pixels(
            self.lake,
            self.release.name,
            self.recipe.data,
            self.training,
            view=self.release.view,
            on_progress=lambda done, total: self.context.progress(done, total, "decoding clips"),
            threads=self.settings.cpu_count,
        )

    def load_vae(self) -> VAE:
        return read_vae(self.vae_folder, self.recipe.vae.config).to(compute_device())

    def run_in_mlflow(self, stack: ExitStack, experiment: str) -> Run:
        tags = {
            "flow_run_id": str(self.spec.get("flow_run_id", "")),
            "job": self.context.folder.name,
        }
        name = f"{self.recipe.name}-{self.release.name}"
        tracking = Tracking(self.settings.mlflow_url)
        return stack.enter_context(
            tracking.run(
                experiment,
                name,
                recipe=self.recipe,
                tags=tags,
                release=self.release,
                lake_uri=self.lake.uri,
            )
        )


def train_vae(bench: Bench, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Train the VAE on the release's clips, measure its latents, write its weights."""
    recipe = bench.recipe.vae
    if (done := bench.done("vae")) is not None:
        return done
    if bench.recipe.start_from:
        return take_parents_vae(bench)
    check_memory(bench.recipe)
    check_compression(recipe.config)
    clips = [clip for clip in bench.clips() if clip.split == "train"]
    if recipe.folder:
        check_patterns(recipe, bench.recipe.dit.noise)
        return adopt_vae(bench, clips)
    torch.manual_seed(bench.recipe.seed)
    perceptual = perceptual_loss(recipe.perceptual)
    vae = VideoVAE(recipe.config).to(memory_format=torch.channels_last)
    if not (bench.vae_folder / "checkpoint.pt").exists():
        start_linear(vae, clips, recipe)
    trainer = Trainer(
        {"vae": vae},
        WindowSampler(clips, recipe.num_frames, recipe.optimizer.batch),
        lambda video, generator: vae_loss(vae, video, recipe, generator, perceptual),
        recipe.optimizer,
        bench.vae_folder,
        seed=bench.recipe.seed,
        tag=fingerprint(recipe),
        checkpoint_s=bench.settings.checkpoint_s,
    )
    with ExitStack() as stack:
        log = TrainingLog(bench, stack, "reel/vae", recipe.optimizer, trainer.rank)
        trainer.fit(log, should_stop)
        if trainer.rank or trainer.counters.step < recipe.optimizer.steps:
            return {}
        averaged = trainer.ema["vae"].eval()
        assert isinstance(averaged, VideoVAE)
        with torch.no_grad():
            measure_statistics(averaged, clips, bench.recipe.data)
        write_vae(averaged, bench.vae_folder)
        return log.finish(bench.vae_folder, trainer.counters)


def adopt_vae(bench: Bench, clips: Sequence[Clip]) -> dict[str, Any]:
    """Take the VAE of the recipe's folder as it is; measure its latents if nobody did."""
    vae = adopted_vae(bench.recipe.vae).to(compute_device())
    if not vae.has_statistics:
        measure_statistics(vae, clips, bench.recipe.data)
    write_vae(vae, bench.vae_folder)
    with ExitStack() as stack:
        run = bench.run_in_mlflow(stack, "reel/vae")
        done: dict[str, Any] = {
            "folder": str(bench.vae_folder),
            "mlflow_run_id": run.run_id,
            "metrics": {},
            "pictures": {},
        }
    write_json(bench.vae_folder / "done.json", done)
    return done


def take_parents_vae(bench: Bench) -> dict[str, Any]:
    """A model that starts from another has its VAE: nothing is trained."""
    take_vae(bench.recipe, bench.settings, bench.vae_folder)
    done = {"folder": str(bench.vae_folder), "mlflow_run_id": "", "metrics": {}, "pictures": {}}
    write_json(bench.vae_folder / "done.json", done)
    return done


def encode_latents(bench: Bench) -> dict[str, Any]:
    """Encode every clip of the release into the lake's latents."""
    clips, vae_hash = bench.clips(), bench.vae_hash

    def progress(done: int, total: int) -> None:
        bench.context.progress(done, total, "encoding latents")
        bench.context.raise_if_stopping()

    written = write_latents(
        bench.lake, bench.load_vae(), vae_hash, clips, bench.recipe.data, progress
    )
    counts = {"clips": len(clips), "written": written}
    return {"folder": str(bench.vae_folder), "vae_hash": vae_hash, **counts}


def train_dit(bench: Bench, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Train the transformer on the release's latents; its averaged weights become a bundle."""
    recipe = bench.recipe.dit
    if (done := bench.done("dit")) is not None:
        return done
    check_memory(bench.recipe)
    clips = bench.clips()
    captions = {clip.clip_id: clip.caption for clip in clips if clip.split == "train"}
    store = LatentStore(bench.lake, bench.vae_hash, captions)
    seed = bench.recipe.seed
    begun = start(bench.recipe, bench.settings, captions.values())
    bench.context.progress(0, recipe.optimizer.steps, begun.says)
    dit, text, tokenizer = begun.dit, begun.text, begun.tokenizer
    trainer = Trainer(
        {"dit": dit, "text": text},
        Loader(store, SampleMaker(tokenizer, recipe, bench.recipe.data.fps), recipe, seed=seed),
        lambda samples, _generator: velocity_error(dit, text, samples),
        recipe.optimizer,
        bench.dit_folder,
        seed=seed,
        tag=f"{fingerprint(recipe)}{begun.tag}-{FORMAT}",
        checkpoint_s=bench.settings.checkpoint_s,
        compute=recipe.compute,
    )
    held = [clip for clip in clips if clip.split == "val"]
    vae = bench.load_vae()
    with ExitStack() as stack:
        log = TrainingLog(bench, stack, "reel/dit", recipe.optimizer, trainer.rank)
        watch = Watch(bench.recipe, vae, tokenizer, held, log.run, bench.dit_folder)

        def look(step: int) -> None:
            averaged_dit, averaged_text = trainer.averaged("dit"), trainer.averaged("text")
            if trainer.rank == 0:
                watch(step, averaged_dit, averaged_text)

        trainer.fit(log, should_stop, look, recipe.watch_every)
        averaged_dit, averaged_text = trainer.averaged("dit"), trainer.averaged("text")
        if trainer.rank or trainer.counters.step < recipe.optimizer.steps:
            return {}
        assert isinstance(averaged_dit, DiT) and isinstance(averaged_text, CaptionEncoder)
        lineage = {
            "release": bench.release.name,
            "vae_hash": bench.vae_hash,
            "mlflow_run_id": log.run_id,
            "training_clips": len(store),
            **begun.lineage,
        }
        folder = bench.dit_folder / "bundle"
        averaged_dit = finish(averaged_dit, recipe.lora, folder)
        save_bundle(folder, bench.recipe, vae, averaged_dit, averaged_text, tokenizer, lineage)
        return log.finish(bench.dit_folder, trainer.counters) | {"bundle": str(folder)}


def check_memory(recipe: ModelRecipe) -> None:
    """Refuse a recipe whose weights, gradients, moments and average cannot fit this machine.

    Raises:
        InputError: naming what it needs and what there is; or that it would take for ever.
    """
    check_compute(recipe)
    with torch.device("meta"):
        modules = (VideoVAE(recipe.vae.config), DiT(recipe.dit.config))
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    needed, free = parameters * 4 * 5, psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise InputError(
            f"recipe {recipe.name!r} has {parameters / 1e6:.0f} M parameters and needs "
            f"{needed / 2**30:.1f} GiB to train, but {free / 2**30:.1f} GiB are free; "
            "choose a smaller recipe or a bigger machine"
        )


class TrainingLog:
    """Called after every step: progress for the job, curves for MLflow, a chart at the end."""

    def __init__(
        self, bench: Bench, stack: ExitStack, experiment: str, recipe: OptimizerRecipe, rank: int
    ) -> None:
        self.bench, self.recipe, self.rank = bench, recipe, rank
        self.run = bench.run_in_mlflow(stack, experiment) if rank == 0 else None
        self.run_id = self.run.run_id if self.run else ""
        self.curve: list[tuple[float, float]] = []
        self._recent: list[float] = []
        self._started = time.monotonic()

    def __call__(self, counters: Counters, metrics: dict[str, float]) -> None:
        if self.run is None:
            return
        self._recent.append(metrics["loss"])
        last = counters.step == self.recipe.steps
        if counters.step % LOG_EVERY_STEPS == 0 or last:
            mean = sum(self._recent) / len(self._recent)
            self._recent.clear()
            self.curve.append((counters.step, mean))
            self.run.metrics(metrics | {"loss": mean}, step=counters.step)
        self.bench.context.progress(counters.step, self.recipe.steps, "training", **metrics)

    def finish(self, folder: Path, counters: Counters) -> dict[str, Any]:
        """Draw the curve, close the books, and write what the step came to."""
        assert self.run is not None
        chart = folder / CHART
        line_chart({"training loss": self.curve}, chart, title=folder.name, log_y=True)
        self.run.artifact(chart)
        figures = {
            "loss": self.curve[-1][1],
            "loader_wait_share": counters.wait_s / max(counters.train_s + counters.wait_s, 1e-9),
            "skipped_steps": float(counters.skipped_steps),
            "clipped_steps": float(counters.clipped_steps),
            "watch_s": counters.watch_s,
            "train_s": counters.train_s,
        }
        self.run.metrics(figures, step=counters.step)
        done = {
            "folder": str(folder),
            "mlflow_run_id": self.run_id,
            "metrics": figures,
            "pictures": {"loss": str(chart)},
        }
        write_json(folder / "done.json", done)
        return json.loads(json.dumps(done)) if dist.is_initialized() else done
