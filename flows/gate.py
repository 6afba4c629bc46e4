"""The promotion gate: thresholds on a model's numbers, and no step back behind the champion."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.errors import GateError

STUDENT = "teacher"  # the tag of a few-step student: the version that it was distilled from
ANY_NUMBER = sys.float_info.max  # as a maximum: neither infinite nor NaN


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A number that a model must reach. `minimum` also says: higher is better; `maximum`: lower."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None
    same: tuple[str, ...] = ()
    """Tags that must be equal for the champion's value to be comparable."""
    optional: bool = False
    """Nothing to fail where neither this model nor the champion was measured."""
    only_with: str = ""
    """A tag without which the number means nothing: the threshold does not apply."""
    not_with: str = ""
    """A tag with which it means nothing."""
    against_champion: bool = True
    slack: float = 0.0
    """Also by this much a candidate may be worse: what chance does to the number."""


@dataclass(frozen=True, kw_only=True)
class GateRecipe:
    """What a candidate must meet."""

    thresholds: tuple[Threshold, ...] = field(
        default=(
            # Below this nobody would recognise the footage.
            Threshold(metric="vae_psnr_db", minimum=16.0, same=("release",)),
            # Half of what a network that learned nothing comes to. A few-step student learned other
            # velocities than this one and the next ask for.
            Threshold(
                metric="training_clips_loss",
                maximum=1.0,
                same=("release", "vae_hash"),
                not_with=STUDENT,
            ),
            # A few clips are learned by heart, and clips of another film are then far off. That is
            # no fault to mend but for more footage, so only the champion is a bar.
            Threshold(
                metric="heldout_loss",
                maximum=ANY_NUMBER,
                same=("release", "vae_hash"),
                not_with=STUDENT,
            ),
            Threshold(metric="image_to_video_psnr_db", minimum=26.0, same=("release",)),
            # How strict an oracle is only its owner knows: it has to see that prompts matter at
            # all, and no less than the champion's did.
            Threshold(
                metric="oracle_accuracy",
                minimum=0.0,
                same=("release", "oracle"),
                optional=True,
                slack=0.05,  # a standard error of a share of 48 videos
            ),
            Threshold(metric="oracle_gain", minimum=0.1, optional=True, against_champion=False),
            Threshold(
                metric="few_step_accuracy_loss",
                maximum=0.05,
                optional=True,
                only_with=STUDENT,
                against_champion=False,
            ),
        )
    )
    tolerance: float = 0.05
    """Share of the champion's value by which a candidate may be worse."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The part of a model version that the gate looks at."""

    version: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One judged number."""

    metric: str
    value: float | None
    bound: str
    champion: float | None
    failure: str
    """Empty when it passed."""
    note: str = ""


def judge(candidate: Measured, champion: Measured | None, recipe: GateRecipe) -> list[Check]:
    """Every threshold's verdict; a value that is missing or not a number fails."""
    return [
        _check(threshold, candidate, champion, recipe)
        for threshold in recipe.thresholds
        if _applies(threshold, candidate, champion)
    ]


def require(checks: Sequence[Check]) -> None:
    """Raises GateError naming every failed number with its value and its bound."""
    failures = [check.failure for check in checks if check.failure]
    if failures:
        raise GateError(f"the model stays where it is: {'; '.join(failures)}")


def _applies(threshold: Threshold, candidate: Measured, champion: Measured | None) -> bool:
    if threshold.only_with and not candidate.tags.get(threshold.only_with):
        return False
    if threshold.not_with and candidate.tags.get(threshold.not_with):
        return False
    # What the champion had to show, whoever comes after it has to show too.
    known = [model for model in (candidate, champion) if model is not None]
    measured = any(threshold.metric in model.metrics for model in known)
    return measured or not threshold.optional


def _check(
    threshold: Threshold, candidate: Measured, champion: Measured | None, recipe: GateRecipe
) -> Check:
    value = candidate.metrics.get(threshold.metric)
    old, note = _champion_value(threshold, candidate, champion)
    failure = _below_threshold(threshold, value) or _behind_champion(threshold, value, old, recipe)
    bound = _bound(threshold)
    return Check(
        metric=threshold.metric, value=value, bound=bound, champion=old, failure=failure, note=note
    )


def _bound(threshold: Threshold) -> str:
    if threshold.minimum is not None:
        return f"≥ {threshold.minimum:g}"
    return "a number" if threshold.maximum == ANY_NUMBER else f"≤ {threshold.maximum:g}"


def _below_threshold(threshold: Threshold, value: float | None) -> str:
    if value is None:
        return f"{threshold.metric} was not measured, and has to be {_bound(threshold)}"
    # Written so that NaN fails, which is below and above nothing.
    reached = (threshold.minimum is None or value >= threshold.minimum) and (
        threshold.maximum is None or value <= threshold.maximum
    )
    return (
        "" if reached else f"{threshold.metric} is {value:.4g}, and has to be {_bound(threshold)}"
    )


def _behind_champion(
    threshold: Threshold, value: float | None, old: float | None, recipe: GateRecipe
) -> str:
    if value is None or old is None:
        return ""
    slack = recipe.tolerance * abs(old) + threshold.slack
    if threshold.minimum is not None:
        worse, limit = value < old - slack, f"≥ {old - slack:.4g}"
    else:
        worse, limit = value > old + slack, f"≤ {old + slack:.4g}"
    if not worse:
        return ""
    return f"{threshold.metric} is {value:.4g}, and has to be {limit} to keep up with the champion"


def _champion_value(
    threshold: Threshold, candidate: Measured, champion: Measured | None
) -> tuple[float | None, str]:
    if champion is None:
        return None, "no champion yet"
    if not threshold.against_champion:
        return None, "by itself"
    differing = [tag for tag in threshold.same if candidate.tags.get(tag) != champion.tags.get(tag)]
    if differing:
        return None, f"champion measured with another {' and '.join(differing)}"
    old = champion.metrics.get(threshold.metric)
    return old, "" if old is not None else "champion was not measured"
