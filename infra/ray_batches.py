"""Tables mapped by the workers of a Ray cluster, as a stream, with Ray Data.

    pool = room(ray.nodes(), ray.available_resources())     # ray = infra.ray_jobs.connect(settings)
    steps = [Step(work=Worker, pool=pool, arguments={"model": model})]
    for answer in stream(ray, tables, steps, still): ...

A table is one block, and what a worker is asked at once. Ray Data keeps as many on their way as the
workers and the memory of the object store can take, so who takes answers slowly slows the workers
down. They come in the order in which they are ready. A lost worker is started and asked again,
without end: Ray Data no longer bounds it. So whoever waits here reports no progress meanwhile, and
a table that ends each worker is found out by the job's silence.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from infra.errors import InfrastructureError

WORKER_CPUS = 4  # more would wait for each other, and each worker holds a copy of its model
STARTS = 3  # that may fail in a row, of workers of a step
AHEAD = 2  # tables that a worker has, with the one that it works on
STILL_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Workers that a cluster has room for, and what each of them has."""

    nodes: int = 0  # of the cluster; 0: there is none
    workers: int = 0
    cpus: int = 1
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is done to a table: by tasks, where `work` is a function of it and `arguments`; with a
    `pool` by its workers, each of which makes `work(**arguments)` once and calls that."""

    work: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pool: Pool | None = None
    rows: int | None = None  # given at once; None: a table. Where there are GPUs it has to be said


def room(nodes: Sequence[Mapping[str, Any]], free: Mapping[str, float]) -> Pool:
    """The pool that a cluster has room for.

    Args:
        nodes: as `ray.nodes()` tells.
        free: what nobody uses, of all nodes together, as `ray.available_resources()` tells.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cores = [int(found) for node in alive if (found := node.get("CPU", 0)) >= 1]
    free_cores = int(free.get("CPU", 0))
    gpus = min(int(free.get("GPU", 0)), free_cores - 1)  # a core must be left to feed them
    if gpus > 0:
        return Pool(nodes=len(alive), workers=gpus, gpus=1)
    cpus = min([WORKER_CPUS, *cores])
    workers = min(sum(count // cpus for count in cores), free_cores // cpus)
    return Pool(nodes=len(alive), workers=workers, cpus=cpus)


def on_every_node(ray: Any, check: Callable[..., bool], *arguments: Any) -> bool:
    """Whether `check(*arguments)` holds on each node; where it cannot run, it does not."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(check)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    there = (NodeAffinitySchedulingStrategy(node_id, soft=False) for node_id in nodes)
    answers = [remote.options(scheduling_strategy=node).remote(*arguments) for node in there]
    try:
        return all(ray.get(answers))
    except ray.exceptions.RayError:
        return False


def stream(
    ray: Any, tables: Iterable[pa.Table], steps: Sequence[Step], still: Callable[[], None]
) -> Iterator[pa.Table]:
    """What the steps, one after the other, make of each table. `still` is called every second
    while there is nothing new; it may raise to stop.

    Raises:
        InfrastructureError: workers do not start. And what `work` raises.
    """
    data = ray.data.from_arrow(list(tables))
    context = data.context
    context.enable_progress_bars = context.print_on_execution_start = False
    context.raise_original_map_exception = True
    context.max_consecutive_actor_init_deaths = STARTS - 1
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for step in steps:
        data = _mapped(ray, data, step)
    answers = queue.Queue[pa.Table | BaseException | None](maxsize=1)
    # A thread that may be left behind: nothing wakes it while no answer comes.
    threading.Thread(target=_pump, args=(data, answers), daemon=True).start()
    while True:
        try:
            answer = answers.get(timeout=STILL_S)
        except queue.Empty:
            still()
            continue
        if answer is None:
            return
        if isinstance(answer, ray.exceptions.RayTaskError):
            raise answer.cause from answer
        if isinstance(answer, ray.exceptions.RayError):
            raise InfrastructureError(
                f"workers of the Ray cluster do not start, or are lost for good: {answer}"
            ) from answer
        if isinstance(answer, BaseException):
            raise answer
        yield answer


def _mapped(ray: Any, data: Any, step: Step) -> Any:
    common = {"batch_size": step.rows, "batch_format": "pyarrow"}
    if step.pool is None:
        return data.map_batches(step.work, fn_kwargs=dict(step.arguments), num_cpus=1, **common)
    pool = step.pool
    return data.map_batches(
        step.work,
        fn_constructor_kwargs=dict(step.arguments),
        compute=ray.data.ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=AHEAD),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
        **common,
    )


def _pump(data: Any, answers: "queue.Queue[pa.Table | BaseException | None]") -> None:
    try:
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            answers.put(table)
        answers.put(None)
    except BaseException as error:
        answers.put(error)
