"""Two workers train one model: as one would, and as if nothing had interrupted them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from infra.job_files import read_json
from tests.training_worker import train

LIMIT_S = 120.0
STEPS, STOP_AT = 6, 3
# Two workers with one batch each make the step that one worker makes of two batches.
ALONE = {"optimizer": {"token_budget": 260, "accumulate": 2, "muon_learning_rate": 2e-3}}
TOGETHER = {"optimizer": {**ALONE["optimizer"], "accumulate": 1}}
SHARDED = {**TOGETHER, "compute": {"shard": True, "checkpointing": "selective"}}
BF16 = {**TOGETHER, "compute": {"shard": True, "precision": "bfloat16"}}


def run(folder: Path, world: int, runs: Sequence[dict[str, Any]]) -> None:
    """Runs one after the other, in `world` processes."""
    spec = json.dumps({"rendezvous": str(folder / "meet"), "world": world, "runs": list(runs)})
    command = [sys.executable, "-m", "tests.training_worker"]
    workers = [
        subprocess.Popen([*command, str(rank), spec], stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    try:
        for worker in workers:
            _, error = worker.communicate(timeout=LIMIT_S)
            assert worker.returncode == 0, error[-3000:]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `alone`, `together`, `sharded`, `bf16`, and those of runs in two parts."""
    folder = tmp_path_factory.mktemp("workers")

    def spec(name: str, what: dict[str, Any], **more: Any) -> dict[str, Any]:
        (folder / name).mkdir(exist_ok=True)
        return {"folder": str(folder / name), "steps": STEPS, **what, **more}

    alone = spec("alone", ALONE)
    train(folder / "alone", alone)
    run(
        folder,
        2,
        [
            spec("together", TOGETHER),
            spec("together-parts", TOGETHER, stop_at=STOP_AT),
            spec("together-parts", TOGETHER),
            spec("sharded", SHARDED),
            spec("sharded-parts", SHARDED, stop_at=STOP_AT),
            spec("sharded-parts", SHARDED),
            spec("bf16", BF16),
        ],
    )
    return folder


def weights(folder: Path) -> torch.Tensor:
    loaded = load_file(folder / "averaged.safetensors")
    return torch.cat([loaded[name].flatten().float() for name in sorted(loaded)])


def losses(folder: Path) -> list[float]:
    found = read_json(folder / "losses.json")
    assert found is not None
    return list(found["losses"])


@pytest.mark.parametrize("kind", ["together", "sharded"])
def test_interrupted_workers_end_bit_identical_to_uninterrupted_ones(
    trained: Path, kind: str
) -> None:
    whole, parts = trained / kind, trained / f"{kind}-parts"
    assert losses(parts) == losses(whole)[STOP_AT:]
    assert torch.equal(weights(parts), weights(whole))


@pytest.mark.parametrize("kind", ["together", "sharded"])
def test_two_workers_train_what_one_trains(trained: Path, kind: str) -> None:
    assert losses(trained / kind) == pytest.approx(losses(trained / "alone"), rel=1e-5)
    torch.testing.assert_close(
        weights(trained / kind), weights(trained / "alone"), rtol=0, atol=2e-5
    )


def test_bfloat16_stays_near_float32(trained: Path) -> None:
    assert losses(trained / "bf16") == pytest.approx(losses(trained / "alone"), rel=0.02)


def test_workers_whose_folders_differ_stop_with_the_reason(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / f"of-{rank}").mkdir()
    begun = {"folder": str(tmp_path / "of-0"), "steps": STEPS, **TOGETHER}
    train(tmp_path / "of-0", {**begun, "steps": 1})
    run_of_each = {**begun, "folder": str(tmp_path / "of-{rank}"), "steps": 1}
    with pytest.raises(AssertionError, match=r"different checkpoints \(none and step 1\)"):
        run(tmp_path, 2, [run_of_each])
