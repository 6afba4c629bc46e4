"""Files on their way between the nodes of a Ray cluster: in pieces, through its object store.

pieces = send(path)          # on one node
receive(pieces, copy)        # on another; pieces may travel as part of what a task takes or returns

The store moves to disk what it cannot hold, so no process holds more than a piece.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PIECE_BYTES = 16 << 20


class LostError(Exception):
    """A file was lost on its way, together with the process that sent it."""


def node_id() -> str:
    """The name of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def send(path: Path) -> list[Any]:
    """References to the file's pieces. They live no longer than this process."""
    import ray

    with path.open("rb", buffering=0) as handle:
        return [ray.put(piece) for piece in iter(lambda: handle.read(PIECE_BYTES), b"")]


def receive(pieces: Sequence[Any], path: Path) -> None:
    """Write the file that the pieces make up.

    Raises:
        LostError: the process that sent them is gone.
    """
    import ray

    with path.open("wb") as handle:
        for piece in pieces:
            try:
                handle.write(ray.get(piece))
            except ray.exceptions.ObjectLostError as error:
                raise LostError(str(error)) from error
