import socket
from importlib.metadata import version
from pathlib import Path

import pytest

from flows import doctor, processes
from infra.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    names = ("prefect_port", "mlflow_port", "ray_port", "ray_dashboard_port", "serve_port")
    ports = {name: processes.free_port("127.0.0.1") for name in names}
    return Settings(home=tmp_path / "home", **ports)  # type: ignore[arg-type]


def test_old_python_is_a_problem() -> None:
    assert not doctor.python_version((3, 10)).ok
    assert doctor.python_version((3, 11)).ok
    assert doctor.python_version((3, 12)).ok


def test_pins_name_what_differs(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"typer=={version('typer')}\n")
    assert doctor.pins(lock).ok
    lock.write_text("typer==0.0.1\nno-such-thing==1.0  # why\n")
    finding = doctor.pins(lock)
    assert not finding.ok
    assert f"typer {version('typer')} (locked: 0.0.1)" in finding.says
    assert "no-such-thing missing" in finding.says


def test_taken_port_names_its_variable(settings: Settings) -> None:
    assert doctor.ports(settings).ok
    with socket.create_server((settings.host, settings.mlflow_port)):
        finding = doctor.ports(settings)
    assert not finding.ok
    assert str(settings.mlflow_port) in finding.says
    assert "REEL_MLFLOW_PORT" in finding.mend


def test_home_that_does_not_exist_yet_is_fine(settings: Settings) -> None:
    assert doctor.home(settings.home).ok
    assert doctor.disk(settings.home).says


@pytest.mark.parametrize(
    ("mode", "host", "ok"),
    [
        ("disabled", "127.0.0.1", True),
        ("disabled", "0.0.0.0", False),
        ("of", "127.0.0.1", False),
    ],
)
def test_ray_auth(settings: Settings, mode: str, host: str, ok: bool) -> None:
    changed = settings.model_copy(update={"ray_auth_mode": mode, "host": host})
    assert doctor.ray_auth(changed).ok is ok


def test_token_mode_needs_a_token(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    changed = settings.model_copy(update={"ray_auth_mode": "token"})
    assert not doctor.ray_auth(changed).ok
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert doctor.ray_auth(changed).ok


def test_encoders_are_there() -> None:
    assert doctor.encoders().ok
