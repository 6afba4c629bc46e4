"""The server's figures: `python -m tests.benchmarks.serving [NAME…]`, all without a name.

Prints a line as each is measured, and keeps all in .reel/bench/serving.json. They are those of the
demo's model: run `make demo` first.
"""

import sys
from collections.abc import Callable

from tests.benchmarks.figure import Figure
from tests.benchmarks.serving import (
    batching,
    contracts,
    faults,
    large,
    latency,
    overload,
    previews,
    swap,
)
from tests.benchmarks.table import measure

FIGURES: dict[str, Callable[[], dict[str, Figure]]] = {
    "p50_over_sampler": latency.p50_over_sampler,
    "batch_throughput_gain": batching.batch_throughput_gain,
    "batched_equals_alone": batching.batched_equals_alone,
    "admission_steps": batching.admission_steps,
    "preview_cost": previews.preview_cost,
    "status_p99_ms": latency.status_p99_ms,
    "kill_exactly_once": faults.kill_exactly_once,
    "overload": overload.overload,
    "swap_failed_requests": swap.swap_failed_requests,
    "minute_video_ok": large.minute_video_ok,
    "image_2048_ok": large.image_2048_ok,
    "schemathesis_5xx": contracts.schemathesis_5xx,
    "openai_contract_failed": contracts.openai_contract_failed,
}

if __name__ == "__main__":
    sys.exit(measure("serving", FIGURES, sys.argv[1:]))
