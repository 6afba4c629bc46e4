"""What a plan is asked for when it is posted, before anything is kept or queued: whether the model
can make its shots, and whether the policy allows what it says and shows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serving.fields import parse_size
from serving.keyframes import check_placed
from serving.policy import Policy
from serving.service import Service
from serving.uploads import PICTURE
from serving.wire import ApiError
from serving.workflows.assembly import asset_paths
from serving.workflows.plan import Plan, PlanError, Shot, field_path, whole_prompt
from serving.workflows.service import plan_error
from serving.workflows.shot_jobs import job_of
from serving.workflows.state import new_state


def check_takes(service: Service, plan: Plan, shots: Sequence[Shot]) -> None:
    """Raises ApiError when the model cannot make some shot of its given frames; `param` is the
    field that decides its length."""
    state = new_state(plan, shots)
    for shot in shots:
        if shot.picture:
            continue
        job = job_of(service, plan, shot, state.shot(shot.id).takes[0])
        if shot.parent is not None or shot.asset is not None:
            job.params = job.params | {"input": PICTURE}
        width, height = parse_size(job.size, even=False)
        size_bytes = job.seconds * job.params["fps"] * width * height * 3
        if shot.max_bytes is not None and size_bytes > shot.max_bytes:
            raise plan_error(PlanError(
                shot.lasts,
                f"of {job.seconds:g} at {job.size} and {job.params['fps']:g} fps are more than the "
                f"{shot.max_bytes / 2**30:g} GiB of pixels that it may have",
            ))  # fmt: skip
        try:
            check_placed(service.model, job)
        except ApiError as error:
            why = str(error).rstrip(".")
            raise plan_error(PlanError(shot.lasts, f"cannot be made: {why}")) from error


def check_words(policy: Policy, values: dict[str, Any], plan: Plan, shots: Sequence[Shot]) -> None:
    """Ask the policy about all that the plan says: what is set into pictures and files as well as
    what the model is told. Files that came with it are asked about in `check_pictures`.

    Raises:
        ApiError: it refuses something, and `param` is the field's path, or cannot be asked.
    """
    said = list(_texts((), {k: v for k, v in values.items() if k not in ("assets", "fonts")}))
    told = [(shot.field, whole_prompt(plan, shot)) for shot in shots]
    words: dict[str, tuple[str, str]] = {}
    for field, text in [*said, *told]:  # what is said in a field of its own is told as that
        words.setdefault(text, (field, text))
    policy.check(list(words.values()))


def check_pictures(policy: Policy, plan: Plan, folder: Path) -> None:
    """Ask the policy about the plan's pictures, saved in `folder`; logos are set into adverts.

    Raises:
        ApiError: it refuses one, or cannot be asked.
    """
    for name, path in asset_paths(plan, folder).items():
        policy.check((), [path], f"assets.{name}")


def _texts(loc: tuple[int | str, ...], value: Any) -> Iterator[tuple[str, str]]:
    """All texts in a plan with the paths of their fields."""
    if isinstance(value, str):
        yield field_path(loc), value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _texts((*loc, key), entry)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _texts((*loc, index), entry)
