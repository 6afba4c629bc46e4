from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State, StateType

from flows import client as client_module
from flows.client import _Follower
from infra.errors import InfrastructureError, JobCancelledError, JobError


class _Server:
    """Answers a follower with one state after another, the last one for ever."""

    def __init__(self, *states: State[Any], logs: tuple[tuple[str, str], ...] = ()) -> None:
        self.states = list(states)
        self.set: list[State[Any]] = []
        self.logs = [SimpleNamespace(name=name, message=message) for name, message in logs]
        self.logs.append(SimpleNamespace(name="prefect.flow_runs", message="Finished in state X"))

    def read_flow_run(self, run_id: Any) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return SimpleNamespace(id=run_id, name="bold-fox", state=state)

    def read_logs(self, _filter: Any, *, offset: int, sort: Any) -> list[Any]:
        return self.logs[offset:]

    def set_flow_run_state(self, _run_id: Any, state: State[Any], *, force: bool) -> None:
        assert force
        self.set.append(state)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "POLL_S", 0.0)
    monkeypatch.setattr(client_module, "pause_s", lambda _begun: 0.0)
    monkeypatch.setattr(client_module, "CRASH_SETTLE_S", 0.0)


def _follow(server: Any, said: list[str] | None = None) -> dict[str, Any]:
    return _Follower(server, uuid4(), (said if said is not None else []).append).follow()


def _state(kind: StateType, message: str = "", data: Any = None) -> State[Any]:
    return State(type=kind, message=message, data=data)


RUNNING = _state(StateType.RUNNING)
CRASHED = _state(StateType.CRASHED, "exit code -9")
DONE = _state(StateType.COMPLETED, data={"release": "r1"})


def test_our_own_lines_are_passed_on_once() -> None:
    said: list[str] = []
    server = _Server(RUNNING, RUNNING, DONE, logs=(("reel", "release r1"), ("reel.job", "noise")))
    _follow(server, said)
    assert said == ["release r1"]


def test_crashed_run_is_set_to_run_again_under_the_same_id() -> None:
    server = _Server(RUNNING, CRASHED, RUNNING, DONE)
    _follow(server)
    assert [state.name for state in server.set] == ["AwaitingRetry"]


def test_run_that_crashes_for_ever_is_given_up() -> None:
    server = _Server(CRASHED)
    with pytest.raises(InfrastructureError, match="died 3 times"):
        _follow(server)
    assert len(server.set) == 2


def test_failure_is_the_flows_own_sentence() -> None:
    message = "Flow run encountered an exception: InputError: no folder at /x; name another: one"
    with pytest.raises(JobError) as caught:
        _follow(_Server(_state(StateType.FAILED, message)))
    assert str(caught.value) == "no folder at /x; name another: one"


def test_cancelled_run() -> None:
    with pytest.raises(JobCancelledError, match="bold-fox"):
        _follow(_Server(_state(StateType.CANCELLED)))
