import os
import subprocess
import sys

import pytest

from infra import allocator
from infra.allocator import allocator_env, jemalloc

FAULTS = """
import resource
import threading

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * (24 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def look():
    print(faults(), faults(), "libjemalloc" in open("/proc/self/maps").read())

thread = threading.Thread(target=look)  # as Ray trains, and engines work
thread.start()
thread.join()
"""


def _run(environment: dict[str, str]) -> list[str]:
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**own, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr, "the loader or the allocator complains about a variable"
    return done.stdout.split()


@pytest.mark.parametrize("name", ["jemalloc", "system"])
def test_a_process_uses_again_the_large_blocks_that_it_freed(name: str) -> None:
    first, second, mapped = _run(allocator_env(name))
    assert int(first) > 1000
    assert int(second) < 100
    assert mapped == str(name == "jemalloc")


def test_what_was_preloaded_stays_and_nothing_is_named_twice() -> None:
    once = allocator_env("jemalloc", "/opt/faketime.so /opt/trace.so")["LD_PRELOAD"]
    assert once.split(":") == [str(jemalloc()), "/opt/faketime.so", "/opt/trace.so"]
    assert allocator_env("jemalloc", once)["LD_PRELOAD"] == once


def test_without_a_library_that_fits_glibc_is_told_to_keep_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocator, "PAGE_BYTES", 65536)
    assert allocator_env("jemalloc") == allocator_env("system")
    assert "LD_PRELOAD" not in allocator_env("jemalloc")


def test_a_process_that_computes_begins_again_once_with_its_arguments() -> None:
    code = (
        "import os, sys; from infra.settings import Settings; print('began', flush=True); "
        "Settings().enter_allocator(); "
        "print(sys.argv[1:], 'libjemalloc' in open('/proc/self/maps').read())"
    )
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "-c", code, "two words", "--flag"],
        env=own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["began", "began", "['two words', '--flag'] True"]
