"""What `reel` leaves of bundles in a folder."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from flows.commands.bundles import inside, unpack
from infra.errors import InfrastructureError


def bundle(path: Path, files: dict[str, str]) -> Path:
    entries = [
        {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in files.items()
    ]
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("manifest.json", json.dumps({"files": entries, "takes": []}))
    return path


def test_what_an_earlier_bundle_left_goes_and_what_was_changed_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = bundle(tmp_path / "1.zip", {"adverts/a.mp4": "a", "adverts/b.mp4": "b", "old/c": "c"})
    unpack(first, out / "draft")
    unpack(first, out)
    (out / "adverts/b.mp4").write_text("mine")
    (out / "notes.txt").write_text("mine, too")
    unpack(bundle(tmp_path / "2.zip", {"adverts/d.mp4": "d"}), out)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {"adverts/b.mp4", "adverts/d.mp4", "notes.txt", "manifest.json"}
    assert not (out / "old").exists() and not (out / "draft").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": [{}], "takes": []}'])
def test_a_manifest_of_something_else_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    unpack(bundle(tmp_path / "1.zip", {"a": "a"}), tmp_path)
    assert (tmp_path / "a").read_text() == "a"


def test_names_lead_nowhere_else_and_broken_archives_are_said(tmp_path: Path) -> None:
    for name in ("../a", "/etc/a", "a/../../b"):
        with pytest.raises(InfrastructureError, match="outside"):
            inside(tmp_path, name)
    (tmp_path / "1.zip").write_text("no")
    with pytest.raises(InfrastructureError, match="broken"):
        unpack(tmp_path / "1.zip", tmp_path)
