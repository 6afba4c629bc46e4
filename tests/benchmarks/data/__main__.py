"""The data platform's figures: `python -m tests.benchmarks.data [NAME…]`, all without a name.

Prints a line as each is measured, and keeps all in .reel/bench/data.json.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.job_files import read_json, write_json
from tests.benchmarks.data import kill, material, memory, reads, refresh, shots, speed
from tests.benchmarks.data.figure import Figure
from tests.benchmarks.data.footage import write_films
from tests.benchmarks.data.near_duplicates import near_dup_recall

FOLDER = Path(".reel/bench").absolute()  # other processes stand elsewhere
FOOTAGE = FOLDER / "footage"

Found = dict[str, Figure]


def near_duplicates(folder: Path) -> Figure:
    half = material.HELD_OUT
    labels = write_films(FOOTAGE / half, FOOTAGE / "material", half)
    return near_dup_recall([FOOTAGE / half / name for name in labels], folder)


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
TOGETHER: dict[str, Callable[[Path], Found]] = {
    "shot_f1": shots.accuracy,
    "false_cuts_per_min": shots.flashes,
    "transnet": shots.network,
}


def main(names: list[str]) -> int:
    known = [*TOGETHER, *ALONE]
    if unknown := [name for name in names if name not in known]:
        print(f"no figure {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    material.install(FOOTAGE / "material" / "packages")
    report = FOLDER / "data.json"
    figures: Found = dict(read_json(report) or {})
    for found in measured(names or known):
        for key, figure in found.items():
            print(line(key, figure), flush=True)
        write_json(report, figures := {**figures, **json.loads(json.dumps(found))})
    return 0


def measured(names: list[str]) -> Iterator[Found]:
    for name in names:
        if name in TOGETHER:
            yield TOGETHER[name](FOOTAGE)
        else:
            folder = "speed" if ALONE[name].__module__ == speed.__name__ else name
            yield {name: ALONE[name](FOLDER / folder)}


def line(key: str, figure: Figure) -> str:
    sign = "≥" if figure["better"] == "higher" else "≤"
    met = (
        figure["value"] >= figure["target"] if sign == "≥" else figure["value"] <= figure["target"]
    )
    return (
        f"{key:<32}{figure['value']:>8.4g}  {sign} {figure['target']:<6g}"
        f"{'met' if met else 'MISSED':<8}{figure['note']} (n = {figure['n']})"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
