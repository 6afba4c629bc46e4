"""Job of the model: `python -m modeling.job --spec spec.json`.

    {"step": "vae" | "latents" | "dit" | "evaluate", "recipe": {…}, "release": "2026-11-22-1"}
    {"step": "distill", "teacher": {"bundle": folder, "version": "3"}, …as "dit"}
    {"step": "sample", "bundle": folder, "prompts": [{"prompt", "seed", "width", "height"}, …]}

The training steps run under Ray Train when the spec says `"workers": n` with n > 0 (a worker that
dies is replaced, and goes on from its checkpoint), and in this process otherwise.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.errors import InputError, JobError
from infra.job_files import JobContext, read_json, run_job
from infra.ray_jobs import connect
from infra.settings import Settings
from modeling.allocator import keep_freed_memory
from modeling.bundle import load_bundle
from modeling.bundle_steps import distill, evaluate
from modeling.generate import Generator
from modeling.steps import Bench, check_memory, encode_latents, train_dit, train_vae
from modeling.tasks import Request

STOP_FILE = "stop"
TRAINING = {"vae": train_vae, "dit": train_dit}


def main(context: JobContext) -> dict[str, Any]:
    step = context.spec.get("step")
    if step in TRAINING:
        workers = int(context.spec.get("workers", 0))
        if step == "vae" and context.spec["recipe"].get("start_from"):
            workers = 0  # the parent's is taken, and nothing trained
        return train_with_ray(context, workers) if workers else train_here(context)
    torch.set_num_threads(Settings().cpu_count)
    if step == "latents":
        return encode_latents(Bench.open(context))
    if step == "evaluate":
        return evaluate(Bench.open(context))
    if step == "distill":
        result = distill(Bench.open(context), lambda: context.should_stop)
        context.raise_if_stopping()
        return result
    if step == "sample":
        return sample_prompts(context)
    known = "vae, latents, dit, evaluate, distill and sample"
    raise InputError(f"no modeling step {step!r}; there are {known}")


def train_here(context: JobContext) -> dict[str, Any]:
    """One training step in this process."""
    torch.set_num_threads(Settings().cpu_count)
    keep_freed_memory()
    result = TRAINING[context.spec["step"]](Bench.open(context), lambda: context.should_stop)
    context.raise_if_stopping()
    return result


def train_with_ray(context: JobContext, workers: int) -> dict[str, Any]:
    """One training step under Ray Train, data-parallel over `workers` processes."""
    settings = Settings()
    bench = Bench.open(context)  # a wrong recipe or release ends here, in one sentence
    if (done := bench.done(context.spec["step"])) is not None:
        return done  # without waking Ray Train, which takes ten seconds
    connect(settings, keep_sigterm=True)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    if not gpus:
        check_memory(bench.recipe)  # in one sentence, which Ray Train would bury

    stop = context.folder / STOP_FILE
    stop.unlink(missing_ok=True)
    threading.Thread(target=_relay_stop, args=(context, stop), daemon=True).start()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "spec": context.spec,
            "folder": str(context.folder),
            "threads": max(1, settings.cpu_count // workers),
        },
        scaling_config=ScalingConfig(num_workers=workers, **worker_needs(workers, gpus)),
        run_config=RunConfig(
            name=context.folder.name,
            storage_path=str(settings.home / "ray-train"),
            failure_config=FailureConfig(max_failures=2),
        ),
    )
    trainer.fit()
    context.raise_if_stopping()
    result = read_json(context.folder / "trained.json")
    if result is None:
        raise JobError(f"training ended without a result; see the log of {context.folder.name}")
    return result


def worker_needs(workers: int, gpus: int) -> dict[str, Any]:
    """What Ray Train reserves for each worker: a GPU where the cluster has any.

    Raises:
        InputError: there are fewer GPUs than workers.
    """
    if 0 < gpus < workers:
        raise InputError(
            f"{workers} workers need a GPU each, and the cluster has {gpus}; ask for --workers "
            f"{gpus}, or add nodes"
        )
    # Half a core each, so that the trainer and the services beside it can be placed too.
    cpus = {"CPU": 0.5}
    return {"use_gpu": gpus > 0, "resources_per_worker": cpus | ({"GPU": 1} if gpus else {})}


def train_worker(config: dict[str, Any]) -> None:
    """One Ray Train worker; rank 0 writes the result beside the job's spec."""
    from infra.job_files import write_json

    folder = Path(config["folder"])
    context = JobContext(config["spec"], folder)
    torch.set_num_threads(config["threads"])
    keep_freed_memory()
    bench = Bench.open(context)
    result = TRAINING[context.spec["step"]](bench, (folder / STOP_FILE).exists)
    if result:
        write_json(folder / "trained.json", result)


def _relay_stop(context: JobContext, stop: Path) -> None:
    # Workers are other processes, perhaps on other machines: they watch a file in the job's folder.
    while not context.should_stop:
        time.sleep(0.5)
    stop.touch()


def sample_prompts(context: JobContext) -> dict[str, Any]:
    """One window for each prompt, many at a time; frames go to `samples.npz` in their order."""
    generator = Generator(load_bundle(Path(context.spec["bundle"])))
    requests = []
    for entry in context.spec["prompts"]:
        height, width = generator.native_size(entry["width"], entry["height"])
        requests.append(
            Request(
                prompt=entry["prompt"],
                num_frames=generator.data.num_frames,
                height=height,
                width=width,
                seed=entry["seed"],
            )
        )
    videos: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    for first in range(0, len(requests), 48):
        videos += generator.generate_many(requests[first : first + 48])
        context.progress(len(videos), len(requests), "sampling")
        context.raise_if_stopping()
    path = context.folder / "samples.npz"
    np.savez(path, *videos)
    return {"samples": str(path), "count": len(videos)}


if __name__ == "__main__":
    sys.exit(run_job(main))
