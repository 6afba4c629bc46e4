"""Turns: which of the jobs under way make the next step together.

A call of the network holds as many rows as its budget says, or one job that is larger. Tenants take
turns by the rows that they were given (fair queueing, Demers et al., 1989), and a tenant's jobs by
who waited longest. So a small job waits for one step of a large one, however many a neighbour has.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """rows: of its next step. turn: the number of its last one."""

    turn: int
    rows: int

    @property
    def tenant(self) -> str: ...


T = TypeVar("T", bound=Waiting)


class Turns:
    """Remembers what each tenant that has work was given."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._turn = 0
        self._given: dict[str, int] = {}

    def choose(self, waiting: Sequence[T]) -> list[T]:
        """Those of `waiting` whose turn it is; some, unless nobody waits."""
        present = {each.tenant for each in waiting}
        known = {tenant: rows for tenant, rows in self._given.items() if tenant in present}
        # Who comes now has missed nothing and is owed nothing.
        least = min(known.values(), default=0)
        self._given = {tenant: known.get(tenant, least) for tenant in present}
        chosen: list[T] = []
        left, rest = self._budget, list(waiting)
        while rest:
            each = min(rest, key=lambda one: (self._given[one.tenant], one.turn))
            rest.remove(each)
            if chosen and each.rows > left:
                continue
            left -= each.rows
            self._given[each.tenant] += each.rows
            self._turn += 1
            each.turn = self._turn
            chosen.append(each)
        return chosen
