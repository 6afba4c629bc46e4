import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import cli
from infra.errors import GateError

HEAVY = ("prefect", "ray", "mlflow", "torch", "lance", "pandas", "numpy", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, flows.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _reel(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        env={"REEL_HOME": str(home), "PATH": "/usr/bin:/bin", **environment},
    )


def test_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    done = _reel("refresh", str(tmp_path / "none"), home=tmp_path / "home")
    assert done.returncode == 1
    assert (
        done.stderr == f"reel: there is no folder {tmp_path / 'none'}; name one that holds films\n"
    )
    assert not (tmp_path / "home").exists()


def test_bad_setting_names_the_variable_and_the_value(tmp_path: Path) -> None:
    done = _reel("status", home=tmp_path, REEL_RAY_PORT="many")
    assert done.returncode == 1
    assert done.stderr.startswith("reel: REEL_RAY_PORT='many': ")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert _reel("refresh", home=tmp_path).returncode == 2


def test_status_of_a_stopped_stack_exits_with_1_and_says_what_was_taken_back(
    tmp_path: Path,
) -> None:
    served = {"version": "1", "refused": {"version": "2", "reason": "its first jobs failed"}}
    (tmp_path / "serve.json").write_text(json.dumps(served))
    done = _reel("status", home=tmp_path)
    assert done.returncode == 1
    first, *_, last = done.stdout.splitlines()
    assert first.split()[:2] == ["prefect", "stopped"]
    assert last == "version 2 was taken back: its first jobs failed"


def test_keys_are_shown_once_listed_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REEL_HOME", str(tmp_path))
    reel = CliRunner()
    made = reel.invoke(cli.app, ["keys", "create", "film", "--scope", "read", "--quota", "60"])
    key = made.stdout.strip()
    assert made.exit_code == 0 and key.startswith("reel_")
    listed = reel.invoke(cli.app, ["keys", "list"]).stdout
    assert listed.split()[:3] == ["1", "film", "read"] and key not in listed
    assert "60 s a day" in listed and "valid" in listed
    assert reel.invoke(cli.app, ["keys", "revoke", "1"]).exit_code == 0
    assert "revoked" in reel.invoke(cli.app, ["keys", "list"]).stdout
    assert reel.invoke(cli.app, ["keys", "revoke", "2"]).exception is not None


def test_error_made_on_purpose_shows_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise GateError("loss is 2, and has to be ≤ 1")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "reel: loss is 2, and has to be ≤ 1\n"
