"""`reel lineage FILE`: from a generated file to the films behind it, over a real lake."""

import json
from pathlib import Path

import pytest
from PIL import Image

from flows import lineage
from infra.catalog import Catalog
from infra.catalog_models import Artifact, GenerationJob
from infra.errors import NotFoundError
from infra.job_files import write_json
from infra.lake import Lake
from infra.settings import Settings
from serving.delivery import artifact, write_picture
from serving.origin import record_training, trained_on
from serving.provenance import Provenance
from tests.system import test_lineage

# The world of that file: releases r1 and r2, a model of each.
catalog, lake, registry = test_lineage.catalog, test_lineage.lake, test_lineage.registry

JOB, PARENT = "image_00000000000000000001", "image_00000000000000000000"


@pytest.fixture
def made(lake: Lake, own_home: Settings, catalog: Catalog) -> Path:
    """A picture of model version 1, signed and recorded."""
    write_json(own_home.home / "models/1/manifest.json", {"release": "r1", "mlflow_run_id": "run"})
    path = own_home.media_dir / JOB / "image0-1.png"
    path.parent.mkdir(parents=True)
    write_picture(Image.new("RGB", (32, 32), (9, 9, 9)), path, 90)
    entry: Artifact = artifact(JOB, "image0", path)
    with catalog.session() as session:
        session.add(_job(PARENT, None))
        session.flush()
        session.add(job := _job(JOB, PARENT))
        session.flush()
        Provenance(own_home).seal(job, [entry])
        session.add(entry)
    return path


def _job(name: str, parent: str | None) -> GenerationJob:
    return GenerationJob(
        id=name, kind="image", status="completed", model_version="1", prompt="a disc",
        params={"seed": 7}, parent_id=parent,
    )  # fmt: skip


def told(own_home: Settings, path: Path) -> tuple[dict[str, object], str]:
    found = lineage.trace(own_home, str(path))
    json.dumps(found)
    return found, "\n".join(lineage.describe(found))


def test_a_delivered_file_leads_to_its_films(made: Path, own_home: Settings) -> None:
    found, text = told(own_home, made)
    assert (found["kind"], found["signature"], found["delivered"]) == ("file", "here", True)
    assert len(found["clips"]["train"]) == 6
    for words in (
        "whole, signed here",
        f"job       {JOB}, image",
        "seed 7",
        f"from      {PARENT}",
        "model     version 1",
        "run       run",
        "release   r1: learned from 6 clips of 2 films",
        "3 clips of aaaaaaaaaaaaaaaa  /films/good.mp4  CC0",
    ):
        assert words in text, text


def test_a_stripped_file_is_found_by_its_plain_id(
    made: Path, own_home: Settings, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.jpeg"
    with Image.open(made) as picture:
        picture.convert("RGB").save(bare, xmp=picture.info["XML:com.adobe.xmp"].encode())
    found, text = told(own_home, bare)
    assert (found["signature"], found["job_id"]) == ("none", JOB)
    assert "plain id, which anybody can write" in text and "release   r1" in text
    assert "not the delivered file" in text


def test_a_changed_file_is_said_to_be(made: Path, own_home: Settings, tmp_path: Path) -> None:
    data = bytearray(made.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1
    (tmp_path / "changed.png").write_bytes(data)
    found, text = told(own_home, tmp_path / "changed.png")
    assert found["signature"] == "changed"
    assert "CHANGED AFTER IT WAS SIGNED (assertion.dataHash.mismatch)" in text
    assert f"job       {JOB}" in text


def test_an_id_that_was_put_on_another_jobs_bytes_is_pointed_at(
    made: Path, own_home: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "video_1234"
    other.mkdir()
    write_picture(Image.new("RGB", (16, 16)), other / "a.png", 90)  # says video_1234
    Provenance(own_home).sign(other / "a.png", {"job": JOB, "model_version": "2"})
    _, text = told(own_home, other / "a.png")
    assert f"BUT       its signature names job {JOB}, its metadata video_1234" in text
    assert "BUT       it names version 2, its job version 1" in text


def test_a_deleted_job_leaves_what_the_file_says(
    made: Path, own_home: Settings, catalog: Catalog, registry
) -> None:
    registry.answers = False
    with catalog.session() as session:
        session.delete(session.get(GenerationJob, JOB))
    found, text = told(own_home, made)
    assert found["job"] is None and "deleted or of another home" in text
    assert "model     version 1" in text and "release   r1: learned from 6 clips" in text


def test_a_work_names_the_jobs_it_was_put_together_from(
    made: Path, own_home: Settings, tmp_path: Path
) -> None:
    sheet, table = tmp_path / "sheet.png", tmp_path / "shots.csv"
    Image.new("RGB", (32, 32)).save(sheet)
    table.write_text("a,b")
    Provenance(own_home).seal_work("wf_1", "1", [JOB, PARENT], [sheet, table])
    found, text = told(own_home, sheet)
    assert (found["signature"], found["job_id"]) == ("here", "wf_1")
    assert f"made from {JOB}, image, seed 7: a disc" in text and "release   r1" in text
    assert table.read_text() == "a,b"


def test_a_file_of_nobody_is_one_sentence(lake: Lake, own_home: Settings, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"junk")
    with pytest.raises(NotFoundError, match="carries no provenance of ours"):
        lineage.trace(own_home, str(tmp_path / "x.png"))


def test_a_server_knows_what_its_version_was_trained_on(made: Path, own_home: Settings) -> None:
    assert trained_on(own_home.home, "1")["licences"] is None
    record_training(own_home, "1")
    known = trained_on(own_home.home, "1")
    assert (known["release"], known["mlflow_run_id"]) == ("r1", "run")
    assert (known["films"], known["clips"], known["licences"]) == (2, 6, {"": 1, "CC0": 1})
    assert known["hours"] == round(12 / 3600, 4)
    record_training(own_home, "7")  # of a release that is not here
    assert trained_on(own_home.home, "7")["films"] is None
