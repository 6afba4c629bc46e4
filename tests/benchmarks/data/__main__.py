"""The data platform's figures: `python -m tests.benchmarks.data [NAME…]`, all without a name.

Prints a line as each is measured, and keeps all in .reel/bench/data.json.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks.data import kill, material, memory, reads, refresh, shots, speed
from tests.benchmarks.data.footage import write_films
from tests.benchmarks.data.near_duplicates import near_dup_recall
from tests.benchmarks.figure import Figure
from tests.benchmarks.table import FOLDER, measure

FOOTAGE = FOLDER / "footage"


def near_duplicates(folder: Path) -> Figure:
    half = material.HELD_OUT
    labels = write_films(FOOTAGE / half, FOOTAGE / "material", half)
    return near_dup_recall([FOOTAGE / half / name for name in labels], folder)


def alone(name: str) -> dict[str, Figure]:
    """A figure that has a folder of its own; those of speed share one."""
    folder = "speed" if ALONE[name].__module__ == speed.__name__ else name
    return {name: ALONE[name](FOLDER / folder)}


ALONE: dict[str, Callable[[Path], Figure]] = {
    "ingest_over_decode": speed.ingest_over_decode,
    "ingest_over_decode_small": speed.ingest_over_decode_small,
    "scenedetect_over_ingest": speed.scenedetect_over_ingest,
    "near_dup_recall": near_duplicates,
    "lake_reads_over_files": reads.lake_reads_over_files,
    "latent_reads_over_files": reads.latent_reads_over_files,
    "refresh_noop_s": refresh.refresh_noop_s,
    "rss_long_over_short": memory.rss_long_over_short,
    "kill_identical": kill.kill_identical,
}
TOGETHER: dict[str, Callable[[Path], dict[str, Figure]]] = {
    "shot_f1": shots.accuracy,
    "false_cuts_per_min": shots.flashes,
    "transnet": shots.network,
}


if __name__ == "__main__":
    material.install(FOOTAGE / "material" / "packages")
    together = {name: partial(figures, FOOTAGE) for name, figures in TOGETHER.items()}
    sys.exit(
        measure("data", together | {name: partial(alone, name) for name in ALONE}, sys.argv[1:])
    )
