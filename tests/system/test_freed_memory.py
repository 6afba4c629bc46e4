import os
import subprocess
import sys

import pytest

from infra.allocator import allocator_env

CODE = """
import resource
from modeling.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back, kept = faults() and faults(), keep_freed_memory() and faults() and faults()
print(given_back, kept)
"""


@pytest.mark.parametrize("environment", [{}, allocator_env("jemalloc")], ids=["glibc", "jemalloc"])
def test_freed_memory_is_used_again_without_asking_the_system(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    given_back, kept = map(int, done.stdout.split())
    assert given_back > 1000 and kept < 100
