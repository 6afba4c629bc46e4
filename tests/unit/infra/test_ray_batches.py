"""How many workers a cluster has room for; tests/integration runs some."""

from typing import Any

import pytest

from infra.ray_batches import Pool, room


def node(cores: float, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cores, "memory": 1e9} if cores else {}}


@pytest.mark.parametrize(
    ("nodes", "free", "pool"),
    [
        ([node(1), node(1)], {"CPU": 2.0}, Pool(nodes=2, workers=2, cpus=1)),
        ([node(16), node(6)], {"CPU": 22.0}, Pool(nodes=2, workers=5, cpus=4)),
        ([node(16), node(6)], {"CPU": 9.5}, Pool(nodes=2, workers=2, cpus=4)),
        ([node(0), node(8)], {"CPU": 8.0}, Pool(nodes=2, workers=2, cpus=4)),  # a bare head
        ([node(8), node(8, alive=False)], {"CPU": 8.0}, Pool(nodes=1, workers=2, cpus=4)),
        ([node(4)], {}, Pool(nodes=1, workers=0, cpus=4)),
        ([node(16)], {"CPU": 16.0, "GPU": 2.0}, Pool(nodes=1, workers=2, gpus=1)),
        ([node(2)], {"CPU": 2.0, "GPU": 8.0}, Pool(nodes=1, workers=1, gpus=1)),
        ([node(4)], {"CPU": 4.0, "GPU": 0.5}, Pool(nodes=1, workers=1, cpus=4)),  # one serves
    ],
)
def test_workers_fit_into_what_is_free_and_a_core_is_left_to_decode_for_gpus(
    nodes: list[dict[str, Any]], free: dict[str, float], pool: Pool
) -> None:
    assert room(nodes, free) == pool
