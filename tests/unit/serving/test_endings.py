import asyncio
import threading
import time

from serving.endings import Endings


def waited_s(endings: Endings, job_id: str, within_s: float) -> float:
    began = time.monotonic()
    asyncio.run(endings.wait(job_id, within_s))
    return time.monotonic() - began


def test_who_waits_is_told_at_once_and_who_comes_late_need_not_wait() -> None:
    endings = Endings()
    threading.Timer(0.1, endings.announce, ["a"]).start()
    assert waited_s(endings, "a", 20.0) < 10
    assert waited_s(endings, "a", 20.0) < 10


def test_another_job_does_not_end_the_wait_and_nothing_is_kept_of_it() -> None:
    endings = Endings()
    threading.Timer(0.05, endings.announce, ["a"]).start()
    assert waited_s(endings, "b", 0.3) >= 0.29
    assert endings._waiting == {}
    endings.announce("b")  # nobody waits any more


def test_all_who_wait_for_a_job_are_told() -> None:
    async def three(endings: Endings) -> None:
        waits = [asyncio.create_task(endings.wait("a", 20.0)) for _ in range(3)]
        await asyncio.sleep(0.05)
        waits[0].cancel()
        endings.announce("a")
        done = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 10)
        assert isinstance(done[0], asyncio.CancelledError) and done[1:] == [True, True]

    asyncio.run(three(Endings()))
