"""Whether a plan's words can be set, before anything is generated: `… dry_run FOLDER`.

Laying text out takes time and opens the plan's fonts and pictures, so it is done in a child process
under the limits of `serving.probe`. FOLDER holds `dry_run.json`, the kind and the plan, and the
assets.
Prints {} or {"field", "why"}.
"""

import json
import sys
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from serving.probe import limit_process
from serving.uploads import ask_child
from serving.workflows.assembly import asset_paths, font_paths
from serving.workflows.deliverable import Checked, Deliverable, Takes, find_kind
from serving.workflows.plan import Plan, PlanError, read_plan

ORDER = "dry_run.json"


async def dry_run(
    deliverable: Deliverable, plan: Plan, stored: dict[str, Any], folder: Path
) -> None:
    """Check the plan, and as it will be `stored`, with the assets in `folder`.

    Raises:
        PlanError: what the deliverable says, or that the plan, a font or picture hurt the child.
    """
    if not isinstance(deliverable, Checked):
        return
    if not deliverable.needs_child(plan):
        return await run_in_threadpool(deliverable.check, plan, Takes(takes={}, choices={}))
    order = folder / ORDER
    order.write_text(json.dumps({"kind": deliverable.kind, "plan": stored}))
    answer = await ask_child(["serving.workflows.dry_run", str(folder)])
    order.unlink()
    if answer is None:
        field = "fonts" if plan.fonts else "assets" if plan.assets else ""
        raise PlanError(field, "cannot be laid out within the limits; send others, or say less")
    if answer:
        raise PlanError(answer["field"], answer["why"])


def check(deliverable: Checked, plan: Plan, folder: Path) -> dict[str, str]:
    """{} or {"field", "why"}."""
    given = Takes(
        takes={},
        choices={},
        assets=asset_paths(plan, folder),
        fonts=font_paths(plan, folder),
    )
    try:
        deliverable.check(plan, given)
    except PlanError as error:
        return {"field": error.field, "why": error.why}
    return {}


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    order = json.loads((folder / ORDER).read_text())
    deliverable = find_kind(order["kind"])
    assert deliverable is not None and isinstance(deliverable, Checked)
    plan = read_plan(deliverable.plan_model, order["plan"])
    limit_process()
    print(json.dumps(check(deliverable, plan, folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
