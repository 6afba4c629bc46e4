"""`train-model`: VAE → latents → diffusion transformer → evaluation → a candidate.

Or, of a model that exists: distill → evaluation → a candidate that samples in a few steps.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed
from pydantic import Field

from flows import artifacts, evaluation_recipe
from flows.model_recipe import load
from flows.promote import find_version
from flows.steps import log, run_step, stop_jobs, stopping_jobs
from infra.catalog import Catalog
from infra.errors import InputError
from infra.job_files import read_json
from infra.recipes import to_dict
from infra.settings import Settings
from infra.tracking import Tracking

JOB = "modeling.job"


class RecipeName(StrEnum):
    """The recipes one can choose in the form; modeling/recipes.py has what they contain."""

    TINY = "tiny"
    SMALL = "small"
    BASE = "base"
    LARGE = "large"


@flow(
    name="train-model",
    flow_run_name="train {recipe} on {release}",
    description="VAE → latents → diffusion transformer → evaluation → registered as candidate.",
    on_cancellation=[stop_jobs],
    persist_result=True,
    result_serializer="json",
)
def train_model(
    release: str = "latest",
    recipe: RecipeName = RecipeName.TINY,
    seed: Annotated[int, Field(ge=0)] = 0,
    workers: Annotated[int, Field(ge=0)] = 1,
    start_from: str = "",
    lora_rank: Annotated[int, Field(ge=0)] = 0,
    distill: str = "",
) -> State[dict[str, Any]]:
    """Train a whole model on a release, or a few-step student of one that exists, and register it.

    Args:
        release: A release's name, or latest.
        recipe: How large the model is and how long it learns.
        seed: The same seed, the same model.
        workers: Processes that Ray Train spreads training over; 0 trains without it.
        start_from: A model to fine-tune: bundle folder, version or alias; empty trains anew.
        lora_rank: Fine-tune by adapters of this rank; 0 trains all weights.
        distill: A model version, or an alias such as champion: instead of training from scratch,
            make a student of it that samples in a few steps, on the release it was trained on.

    Returns:
        {"version", "release", "recipe", "metrics", "mlflow_run_id"}
    Raises:
        NotFoundError: no such release, recipe or model to start from.
        InputError: the model to start from has other shapes than the recipe.
    """
    settings = Settings()
    evaluation = evaluation_recipe.load(settings)
    if distill:
        spec = student_spec(settings, distill, start_from)
    else:
        spec = model_spec(settings, release, recipe, seed, workers, start_from, lora_rank)
    spec |= {"flow_run_id": str(runtime.flow_run.id), "evaluation": to_dict(evaluation)}
    results = {}
    with stopping_jobs():
        for step in ("distill", "evaluate") if distill else ("vae", "latents", "dit", "evaluate"):
            results[step] = run_step(step, JOB, {"step": step, **spec})
    evaluated, name = results["evaluate"], spec["release"]
    publish(results)
    tags = {"release": name, **parent_tags(Path(evaluated["bundle"])), **evaluated["tags"]}
    tracking = Tracking(settings.mlflow_url)
    version = tracking.register_bundle(Path(evaluated["bundle"]), evaluated["mlflow_run_id"], tags)
    tracking.set_alias("candidate", version)
    message = f"version {version} is the candidate: recipe {tags['recipe']} on release {name}"
    log.info("%s", message)
    emit_event(
        "reel.model.trained",
        resource={"prefect.resource.id": f"reel.model.{version}"},
        payload={"version": version, "release": name},
    )
    return Completed(
        message=message,
        data={
            "version": version,
            "release": name,
            "recipe": tags["recipe"],
            "metrics": evaluated["metrics"],
            "mlflow_run_id": evaluated["mlflow_run_id"],
        },
    )


def parent_tags(bundle: Path) -> dict[str, str]:
    """Which model a fine-tuned one started from, and what that had seen."""
    parent = (read_json(bundle / "manifest.json") or {}).get("parent")
    return {"parent": parent["start_from"], "parent_release": parent["release"]} if parent else {}


def model_spec(
    settings: Settings,
    release: str,
    recipe: RecipeName,
    seed: int,
    workers: int,
    start_from: str,
    lora_rank: int,
) -> dict[str, Any]:
    """What the jobs of a model are told that is trained from scratch or goes on from another."""
    # They bring Lance and torch along, which cost seconds to import.
    from infra.releases import get_release
    from modeling.finetune import pin_parent

    chosen = load(
        settings,
        recipe.value,
        seed=seed,
        workers=workers,
        start_from=start_from,
        lora_rank=lora_rank,
    )
    chosen = pin_parent(chosen, settings)
    name = get_release(Catalog(settings.catalog_url), release).name
    return {"recipe": to_dict(chosen), "release": name, "workers": workers}


def student_spec(settings: Settings, teacher: str, start_from: str = "") -> dict[str, Any]:
    """What the jobs of a few-step student are told: its teacher, and that one's recipe and release.

    Raises:
        NotFoundError: there is no such model version.
        InputError: it is a few-step student itself, or a model to fine-tune is named too.
    """
    if start_from:
        raise InputError(
            f"a student of {teacher} starts from its teacher, not from {start_from}; "
            "ask for one of distill and start_from"
        )
    tracking = Tracking(settings.mlflow_url)
    version = find_version(tracking, teacher)
    if version.tags.get("teacher"):
        raise InputError(
            f"version {version.version} is a few-step student of version "
            f"{version.tags['teacher']} already; distill that one"
        )
    folder = tracking.download(version.version, settings.home / "models" / version.version)
    manifest = read_json(folder / "manifest.json") or {}
    return {
        "recipe": manifest["recipe"],
        "release": manifest["release"],
        "teacher": {"bundle": str(folder), "version": version.version},
        "distill": {},
    }


def publish(results: Mapping[str, dict[str, Any]]) -> None:
    """The pages of a training run: curves, samples, the evaluation table."""
    for key, result in results.items():
        pictures = [
            f"## {name}\n\n{artifacts.picture_file(Path(path), name)}"
            for name, path in result.get("pictures", {}).items()
        ]
        if pictures:
            shown = "samples" if key == "evaluate" else key
            artifacts.publish(f"{shown}-pictures", "\n\n".join(pictures), shown)
    table = artifacts.table(["number", "value", "note"], results["evaluate"]["table"])
    artifacts.publish("evaluation", f"# Evaluation\n\n{table}", "what was measured")
