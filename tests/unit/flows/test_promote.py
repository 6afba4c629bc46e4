from typing import Any

import pytest

from flows import artifacts, promote
from flows.gate import GateRecipe, Threshold
from infra.errors import GateError, NotFoundError
from infra.settings import Settings
from infra.tracking import ModelVersion


class _Registry:
    """Versions 1…n whose `quality` is given, and the aliases."""

    def __init__(self, qualities: dict[str, float], **aliases: str) -> None:
        self.qualities = qualities
        self.aliases = aliases

    def version(self, number: str) -> ModelVersion:
        if number not in self.qualities:
            raise NotFoundError(f"no version {number}")
        metrics = {"quality": self.qualities[number]}
        return ModelVersion(version=number, run_id="r", tags={}, metrics=metrics)

    def alias(self, name: str) -> ModelVersion | None:
        return self.version(self.aliases[name]) if name in self.aliases else None

    def set_alias(self, name: str, version: str) -> None:
        self.aliases[name] = version


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(artifacts, "publish", lambda _key, page, _text="": shown.append(page))
    monkeypatch.setattr(promote, "emit_event", lambda *_, **__: None)
    recipe = GateRecipe(thresholds=(Threshold(metric="quality", minimum=1.0),))
    monkeypatch.setattr(promote, "GateRecipe", lambda: recipe)
    return shown


def _promote(monkeypatch: pytest.MonkeyPatch, registry: _Registry, name: str = "candidate") -> Any:
    monkeypatch.setattr(promote, "Tracking", lambda _url: registry)
    return promote.promote_model.fn(name).data


def test_first_model(monkeypatch: pytest.MonkeyPatch, pages: list[str]) -> None:
    registry = _Registry({"1": 2.0}, candidate="1")
    assert _promote(monkeypatch, registry) == {"version": "1", "previous": "", "promoted": True}
    assert registry.aliases == {"candidate": "1", "champion": "1"}
    assert "passed" in pages[0]


def test_old_champion_becomes_previous(monkeypatch: pytest.MonkeyPatch, pages: list[str]) -> None:
    registry = _Registry({"1": 2.0, "2": 3.0}, candidate="2", champion="1")
    _promote(monkeypatch, registry)
    assert registry.aliases == {"candidate": "2", "champion": "2", "previous": "1"}


def test_failed_gate_moves_nothing_but_shows_why(
    monkeypatch: pytest.MonkeyPatch, pages: list[str]
) -> None:
    registry = _Registry({"1": 2.0, "2": 0.5}, candidate="2", champion="1")
    with pytest.raises(GateError, match=r"quality is 0\.5"):
        _promote(monkeypatch, registry)
    assert registry.aliases == {"candidate": "2", "champion": "1"}
    assert "**failed**" in pages[0]


def test_promoting_the_champion_keeps_previous(
    monkeypatch: pytest.MonkeyPatch, pages: list[str]
) -> None:
    registry = _Registry({"1": 2.0, "2": 3.0}, candidate="2", champion="2", previous="1")
    assert _promote(monkeypatch, registry)["promoted"] is False
    assert registry.aliases["previous"] == "1"


def test_version_by_number_or_alias(monkeypatch: pytest.MonkeyPatch, pages: list[str]) -> None:
    registry = _Registry({"1": 2.0})
    assert _promote(monkeypatch, registry, "1")["version"] == "1"
    with pytest.raises(NotFoundError, match="'nightly'"):
        _promote(monkeypatch, registry, "nightly")


def test_rollback_swaps_and_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _Registry({"1": 2.0, "2": 3.0}, champion="2", previous="1")
    monkeypatch.setattr(promote, "Tracking", lambda _url: registry)
    assert promote.rollback(Settings()) == ("1", "2")
    assert registry.aliases == {"champion": "1", "previous": "2"}
    promote.rollback(Settings())
    assert registry.aliases == {"champion": "2", "previous": "1"}


def test_rollback_without_an_earlier_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _Registry({"1": 2.0}, champion="1")
    monkeypatch.setattr(promote, "Tracking", lambda _url: registry)
    with pytest.raises(NotFoundError, match="no earlier champion"):
        promote.rollback(Settings())
    assert registry.aliases == {"champion": "1"}
