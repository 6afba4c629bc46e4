"""`reel plan`: what work would take, before it is begun."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import open_settings
from infra.errors import InputError

if TYPE_CHECKING:
    from modeling.plan import Plan

plan = typer.Typer(no_args_is_help=True, help="What work would take, before it is begun.")


@plan.callback()
def _commands() -> None:
    """What work would take, before it is begun."""


@plan.command("train")
def plan_train(
    recipe: Annotated[str, typer.Option(help="tiny, small, base or large")] = "base",
    gpus: Annotated[int, typer.Option(help="how many")] = 8,
    gpu: Annotated[str, typer.Option(help="which: h100, h200, a100, …")] = "h100",
    utilisation: Annotated[
        float, typer.Option(help="share of the GPU's dense peak that is reached")
    ] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="the same figures for programs")] = False,
) -> None:
    """Parameters, memory on each GPU, days and GPU-hours of a training; exit status 1 if it does
    not fit."""
    settings = open_settings()
    from flows.model_recipe import load
    from modeling.plan import plan as make_plan

    found = make_plan(load(settings, recipe), gpus, gpu, utilisation)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print("\n".join(describe(found)))
    if found.obstacle:
        raise InputError(found.obstacle)


def describe(plan: "Plan") -> Iterator[str]:
    """The lines that a person reads."""
    counts = ", ".join(f"{name} {count / 1e6:,.1f} M" for name, count in plan.parameters.items())
    yield f"recipe {plan.recipe} on {plan.gpus} x {plan.gpu}"
    yield f"  parameters   {counts}"
    yield (
        f"  a step       {plan.step_rows:,} tokens: {plan.gpus} GPUs x {plan.accumulate} batches x "
        f"{plan.batch_rows:,}"
    )
    yield f"  memory       GiB on each GPU, of {plan.usable_gib:.1f} to use, by checkpointing"
    settings = list(plan.memory_gib)
    yield f"    {'':<13}" + "".join(f"{name:>11}" for name in settings)
    for part in plan.memory_gib[settings[0]]:
        sizes = "".join(f"{plan.memory_gib[name][part]:>11.2f}" for name in settings)
        yield f"    {part:<13}{sizes}"
    yield f"    the recipe's is {plan.checkpointing!r}"
    again = plan.recompute_flops / plan.model_flops
    yield (
        f"  work         {plan.model_flops:.3g} FLOPs a step, and {again:.0%} of it a second time"
    )
    yield (
        f"  speed        {plan.tokens_per_s:,.0f} tokens/s, {plan.step_s:.2f} s a step, at "
        f"{plan.utilisation:.0%} of the peak ({plan.utilisation / (1 + again):.0%} without what "
        "is done twice)"
    )
    yield (
        f"  time         {plan.steps:,} steps: {plan.days:,.1f} days, "
        f"{plan.gpu_hours:,.0f} GPU-hours"
    )
    sizes = f"checkpoint {plan.checkpoint_gib:.1f} GiB, bundle {plan.bundle_gib:.1f} GiB"
    yield f"  disk         {sizes}"
    yield "  The VAE is trained before, and its latents are stored: that is not in these figures."
