"""A delivery beside the engine: its priority, and what of its time comes after the last step."""

import os
import sys
import threading

import pytest
from serving_fakes import FakeGenerator

from serving.engine import Engine
from serving.render import GIVES_WAY, give_way
from tests.unit.serving.test_engine import queue, until


def test_a_delivery_comes_after_the_steps_and_so_does_what_it_begins() -> None:
    found: dict[str, int] = {}

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def deliver() -> None:
        found["before"] = nice()
        give_way()
        found["after"] = nice()
        encoder = threading.Thread(target=lambda: found.update(encoder=nice()))
        encoder.start()
        encoder.join()

    here = nice()
    thread = threading.Thread(target=deliver)
    thread.start()
    thread.join()
    more = GIVES_WAY if sys.platform == "linux" else 0  # elsewhere threads have none of their own
    expected = min(19, found["before"] + more)
    assert found["after"] == found["encoder"] == expected and nice() == here


def test_the_parts_of_a_jobs_time_come_to_no_more_than_all_of_it(store) -> None:
    engine = Engine(store, FakeGenerator, "1")
    engine.start()
    job = queue(store)
    engine.notify()
    until(lambda: store.get(job.id).status == "completed")
    engine.stop()
    told = store.get(job.id).timings
    parts = ("sample_s", "preview_s", "encode_tail_s", "overhead_s")
    assert sum(told[part] for part in parts) == pytest.approx(told["total_s"], abs=1e-3)
    assert 0 < told["encode_tail_s"] < told["total_s"]
