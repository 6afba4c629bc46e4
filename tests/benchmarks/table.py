"""A benchmark's table: a line as each figure is measured, all kept in .reel/bench/NAME.json."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.job_files import read_json, write_json
from infra.settings import Settings
from modeling.allocator import keep_freed_memory
from tests.benchmarks.figure import Figure

FOLDER = Path(".reel/bench").absolute()  # other processes stand elsewhere

Measures = Mapping[str, Callable[[], dict[str, Figure]]]


def measure(name: str, measures: Measures, wanted: Sequence[str]) -> int:
    """Take the wanted measures (all, when none is named); the exit status.

    Figures that are not measured this time stay in the file.
    """
    if unknown := [each for each in wanted if each not in measures]:
        print(f"no figure {unknown[0]!r}; there are {', '.join(measures)}", file=sys.stderr)
        return 2
    Settings().enter_allocator()  # on which jobs and engines compute,
    keep_freed_memory()  # and as they use it
    report = FOLDER / f"{name}.json"
    figures = dict(read_json(report) or {})
    for each in wanted or measures:
        begun = time.monotonic()
        for key, figure in measures[each]().items():
            print(line(key, figure), flush=True)
            figures[key] = json.loads(json.dumps(figure))
        print(f"{each} took {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        write_json(report, figures)
    return 0


def line(key: str, figure: Figure) -> str:
    sign = "≥" if figure["better"] == "higher" else "≤"
    met = (
        figure["value"] >= figure["target"] if sign == "≥" else figure["value"] <= figure["target"]
    )
    return (
        f"{key:<32}{figure['value']:>8.4g}  {sign} {figure['target']:<6g}"
        f"{'met' if met else 'MISSED':<8}{figure['note']} (n = {figure['n']})"
    )
