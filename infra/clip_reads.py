"""Clips out of the lake, decoded: the next bytes are fetched while several clips decode."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from infra.lake import Lake

CLIPS_PER_FETCH = 64  # bytes of twice as many are in memory

T = TypeVar("T")


def map_clips(
    lake: Lake,
    clip_ids: Sequence[str],
    work: Callable[[int, bytes], T],
    *,
    threads: int,
    release: str | None = None,
) -> Iterator[T]:
    """`work(index, bytes)` of each clip, in the order asked, on so many threads; no id comes twice.

    Few results wait to be taken: who takes them slowly slows the reading down.

    Raises:
        NotFoundError: an id that has no stored bytes. And what `work` raises.
    """
    batches = lake.clip_batches(clip_ids, CLIPS_PER_FETCH, release)
    fetcher, workers = ThreadPoolExecutor(1), ThreadPoolExecutor(threads)
    waiting = deque[Future[T]]()
    index, nothing = 0, dict[str, bytes]()
    try:
        coming = fetcher.submit(next, batches, nothing)
        while batch := coming.result():
            coming = fetcher.submit(next, batches, nothing)
            for data in batch.values():
                waiting.append(workers.submit(work, index, data))
                index += 1
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for pool in (workers, fetcher):
            pool.shutdown(cancel_futures=True)
