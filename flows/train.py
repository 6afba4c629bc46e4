"""`train-model`: VAE → latents → diffusion transformer → evaluation → a candidate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed
from pydantic import Field

from flows import artifacts
from flows.model_recipe import load
from flows.steps import log, run_step, stop_jobs, stopping_jobs
from infra.catalog import Catalog
from infra.job_files import read_json
from infra.recipes import fingerprint, to_dict
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
) -> State[dict[str, Any]]:
    """Train a whole model on a release and register it.

    Args:
        release: A release's name, or latest.
        recipe: How large the model is and how long it learns.
        seed: The same seed, the same model.
        workers: Processes that Ray Train spreads training over; 0 trains without it.
        start_from: A model to fine-tune: bundle folder, version or alias; empty trains anew.
        lora_rank: Fine-tune by adapters of this rank; 0 trains all weights.

    Returns:
        {"version", "release", "recipe", "metrics", "mlflow_run_id"}
    Raises:
        NotFoundError: no such release, recipe or model to start from.
        InputError: the model to start from has other shapes than the recipe.
    """
    # They bring Lance and torch along, which cost seconds to import.
    from infra.releases import get_release
    from modeling.finetune import pin_parent

    settings = Settings()
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
    spec = {
        "recipe": to_dict(chosen),
        "release": name,
        "workers": workers,
        "flow_run_id": str(runtime.flow_run.id),
    }
    with stopping_jobs():
        vae = run_step("vae", JOB, {"step": "vae", **spec})
        run_step("latents", JOB, {"step": "latents", **spec})
        dit = run_step("dit", JOB, {"step": "dit", **spec})
        evaluated = run_step("evaluate", JOB, {"step": "evaluate", **spec})
    publish(vae, dit, evaluated)
    tags = {
        "release": name,
        "recipe": recipe.value,
        "recipe_hash": fingerprint(chosen),
        **parent_tags(Path(evaluated["bundle"])),
        **evaluated["tags"],
    }
    tracking = Tracking(settings.mlflow_url)
    version = tracking.register_bundle(Path(evaluated["bundle"]), evaluated["mlflow_run_id"], tags)
    tracking.set_alias("candidate", version)
    message = f"version {version} is the candidate: recipe {recipe.value} on release {name}"
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
            "recipe": recipe.value,
            "metrics": evaluated["metrics"],
            "mlflow_run_id": evaluated["mlflow_run_id"],
        },
    )


def parent_tags(bundle: Path) -> dict[str, str]:
    """Which model a fine-tuned one started from, and what that had seen."""
    parent = (read_json(bundle / "manifest.json") or {}).get("parent")
    return {"parent": parent["start_from"], "parent_release": parent["release"]} if parent else {}


def publish(vae: dict[str, Any], dit: dict[str, Any], evaluated: dict[str, Any]) -> None:
    """The pages of a training run: curves, samples, the evaluation table."""
    for key, result in (("vae", vae), ("dit", dit), ("samples", evaluated)):
        pictures = [
            f"## {name}\n\n{artifacts.picture_file(Path(path), name)}"
            for name, path in result["pictures"].items()
        ]
        if pictures:
            artifacts.publish(f"{key}-pictures", "\n\n".join(pictures), key)
    table = artifacts.table(["number", "value", "note"], evaluated["table"])
    artifacts.publish("evaluation", f"# Evaluation\n\n{table}", "what was measured")
