"""Clips looked at by a model in batches: in this process, or by the workers of a Ray cluster.

    inference = Inference(parallel, settings, lake, frames, still)
    for answers in inference.run(model, clips, on_clips): ...

Answers are tables of a row a clip, with the columns of the model, `clip_id`, and `failed`: why the
clip does not decode, or null. With "auto" a run begins in this process, and what it has left moves
to the cluster if that would take long here and the cluster has more to offer than this process.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from math import inf
from typing import Any

import pyarrow as pa

from captioning.captioner import Clip
from captioning.clip_models import ClipModel, answered
from captioning.clip_workers import CoreWorker, GpuWorker, clips_table, look_at, sees
from captioning.frames import FrameReader, Frames
from infra.errors import InfrastructureError, InputError
from infra.lake import Lake
from infra.ray_batches import Pool, Step, on_every_node, room, stream
from infra.settings import Settings

WAYS = ("auto", "inline", "ray")
LONG_S = 60.0
"""Of work that is left, from which moving pays: workers load torch and a model in ten seconds."""

OnClips = Callable[[int], None]


def moves(parallel: str, left_s: float, offer: Callable[[], Pool]) -> bool:
    """Whether the workers of the cluster go on with what would take `left_s` here.

    `offer`: what the cluster has room for; asking takes a second, so it is asked last.
    """
    if parallel != "auto":
        return parallel == "ray"
    if left_s < LONG_S:
        return False
    pool = offer()
    return pool.workers > 0 and (pool.nodes > 1 or pool.gpus > 0)


class Inference:
    """Runs models over clips of `lake`.

    Args:
        parallel: "inline", here; "ray", on the cluster; or "auto", see `moves`.
        frames: keeps the frames that several models look at, while they run here.
        still: called every second while the cluster answers nothing; it may raise to stop.
    Raises:
        InputError: another `parallel`.
    """

    def __init__(
        self,
        parallel: str,
        settings: Settings,
        lake: Lake,
        frames: FrameReader,
        still: Callable[[], None],
    ) -> None:
        if parallel not in WAYS:
            raise InputError(f"parallel is {parallel!r}; use {', '.join(map(repr, WAYS))}")
        self._parallel = parallel
        self._settings = settings
        self._lake = lake
        self._frames = frames
        self._still = still
        self._offered: Pool | None = None

    def run(self, model: ClipModel, clips: Sequence[Clip], on_clips: OnClips) -> Iterator[pa.Table]:
        """The model's answers about the clips, `model.at_once` in a table, in any order.

        `on_clips` is told of so many clips more before their table comes; it may raise to stop.

        Raises:
            NotFoundError: a clip that has no stored bytes. InfrastructureError: workers do not
            start, or "ray" without a cluster that has room and sees the lake.
        """
        done = 0
        if self._parallel != "ray":
            spent_s, began = 0.0, time.monotonic()
            with closing(self._here(model, clips)) as here:
                for answers in here:
                    done += len(answers)
                    spent_s += time.monotonic() - began
                    on_clips(len(answers))
                    yield answers
                    left_s = spent_s / done * (len(clips) - done)
                    if moves(self._parallel, left_s, self._offer):
                        break
                    began = time.monotonic()
        if done < len(clips):
            for answers in self._there(model, clips[done:]):
                on_clips(len(answers))
                yield answers

    def _here(self, model: ClipModel, clips: Sequence[Clip]) -> Generator[pa.Table, None, None]:
        batch: list[tuple[str, Frames | InputError]] = []
        for number, (clip, seen) in enumerate(
            self._frames.read_what_decodes(clips, model.look), start=1
        ):
            batch.append((clip.clip_id, seen))
            if len(batch) == model.at_once or number == len(clips):
                yield answered(model, batch)
                batch = []

    def _there(self, model: ClipModel, clips: Sequence[Clip]) -> Iterator[pa.Table]:
        pool = self._offer()
        if not pool.workers:
            raise InfrastructureError(
                f"the Ray cluster at {self._settings.ray_address} has no core to spare, or a node "
                f"that does not see the lake {self._lake.uri}; keep the lake at an address such as "
                "s3://… or on a disk that all nodes share, or leave `parallel` at 'auto'"
            )
        model.use("cpu", self._settings.cpu_count)  # weights travel from memory, not from a GPU
        tables = (
            clips_table(clips[first : first + model.at_once])
            for first in range(0, len(clips), model.at_once)
        )
        lake = self._lake.pinned()
        if pool.gpus:
            steps = [
                Step(work=look_at, arguments={"look": model.look, "lake": lake}),
                Step(work=GpuWorker, arguments={"model": model}, pool=pool, rows=model.at_once),
            ]
        else:
            arguments = {"model": model, "lake": lake, "threads": pool.cpus}
            steps = [Step(work=CoreWorker, arguments=arguments, pool=pool)]
        yield from stream(self._ray(), tables, steps, self._still)

    def _offer(self) -> Pool:
        """What the cluster has room for; nothing when there is none, or not all of it is of use."""
        if self._offered is None:
            self._offered = self._ask_cluster()
        return self._offered

    def _ask_cluster(self) -> Pool:
        try:
            ray = self._ray()
        except InfrastructureError:
            if self._parallel == "ray":
                raise
            return Pool()
        pool = room(ray.nodes(), ray.available_resources())
        lake = self._lake.pinned()
        if pool.nodes > 1 and not on_every_node(ray, sees, lake, lake.count("clip_bytes")):
            print(f"not every node of the Ray cluster sees the lake {self._lake.uri}", flush=True)
            return Pool()
        return pool

    def _ray(self) -> Any:
        from infra.ray_jobs import connect  # the catalog comes along

        return connect(self._settings, keep_sigterm=True)


def collected(answers: Iterable[pa.Table], clips: int, seconds: float = inf) -> Iterator[pa.Table]:
    """The tables put together until they hold so many clips, or so much time went by: what is
    stored together."""
    waiting, began = list[pa.Table](), time.monotonic()
    for table in answers:
        waiting.append(table)
        if sum(map(len, waiting)) >= clips or time.monotonic() - began >= seconds:
            yield pa.concat_tables(waiting, promote_options="default")
            waiting, began = [], time.monotonic()
    if waiting:
        yield pa.concat_tables(waiting, promote_options="default")
