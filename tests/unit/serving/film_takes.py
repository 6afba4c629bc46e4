"""Takes without a model: a disc that wanders over a slope of colour."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infra.video import Frames, write_mp4
from serving.workflows.assembly import assemble, make_order
from serving.workflows.deliverable import find_kind
from serving.workflows.plan import check_shots, read_plan, take_seed, whole_prompt


def film(seed: int, num_frames: int, width: int, height: int, *, loops: bool = False) -> Frames:
    """The disc goes from left to right, or there and back."""
    rows, columns = np.mgrid[0:height, 0:width]
    slope = np.stack([rows * 200 // height, columns * 100 // width, rows * 0 + seed % 200], -1)
    frames = []
    for index in range(num_frames):
        time = index / num_frames
        share = 0.5 - 0.5 * np.cos(2 * np.pi * time) if loops else time
        inside = (columns - width * (0.2 + 0.6 * share)) ** 2 + (rows - height / 2) ** 2
        frames.append(np.where((inside < (height / 5) ** 2)[..., None], 255, slope))
    return np.stack(frames).astype(np.uint8)


def made(
    kind: str, values: dict[str, Any], folder: Path, *, size: tuple[int, int] = (64, 48),
    loops: bool = True, choices: dict[str, int] | None = None, approved_by: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Assemble a plan in `folder` of takes (width, height); those of loops do loop if `loops`.

    Returns the manifest.
    """
    deliverable = find_kind(kind)
    assert deliverable is not None
    plan = read_plan(deliverable.plan_model, values)
    shots = deliverable.shots(plan)
    check_shots(plan, shots)
    (folder / "takes").mkdir(parents=True)
    takes = []
    for shot in shots:
        for number in range(1, shot.takes + 1):
            name, seed = f"takes/{shot.id}-{number}{shot.suffix}", take_seed(plan, shot, number)
            width, height = map(int, shot.size.split("x")) if shot.size else size
            if shot.picture:
                Image.fromarray(film(seed, 1, width, height)[0]).save(folder / name)
            else:
                count = round(shot.seconds * plan.fps)
                frames = film(seed, count, width, height, loops=shot.loop and loops)
                write_mp4(frames, plan.fps, folder / name)
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            takes.append(
                {
                    "shot": shot.id, "number": number, "prompt": whole_prompt(plan, shot),
                    "seed": seed, "name": name, "sha256": digest, "job_id": f"video_{number}",
                    "model_version": "3",
                    "parent": None if shot.parent is None else f"{shot.parent}/1",
                }
            )  # fmt: skip
    chosen = {shot.id: 1 for shot in shots} | (choices or {})
    about = {"workflow": "wf_1"}
    assemble(folder, make_order(kind, values, takes, chosen, about, approved_by), 1)
    manifest: dict[str, Any] = json.loads((folder / "files-1/manifest.json").read_text())
    return manifest
