"""Models that look at clips of a lake, in this process; and what their workers do elsewhere."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from captioning.captioner import Clip
from captioning.clip_models import EmbeddingModel
from captioning.clip_workers import CoreWorker, GpuWorker, clips_table, look_at, sees
from captioning.embedding import MeasuredEmbedder
from captioning.frames import CocaLook, FrameReader, Frames
from captioning.inference import LONG_S, Inference, collected, moves
from captioning.recipe import CocaRecipe
from infra.errors import InputError, NotFoundError
from infra.lake import Lake
from infra.ray_batches import Pool
from infra.settings import Settings
from infra.video import encode_mp4

RECIPE = CocaRecipe(cell=16)
GREYS = {"a": 40, "b": 90, "c": 140, "d": 190}
BROKEN = "broken"


class Grey:
    """Says how bright clips are, and remembers how many it saw together."""

    look, at_once = CocaLook(RECIPE), 2

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.where: tuple[str, int] | None = None

    def use(self, device: str, threads: int) -> None:
        self.where = device, threads

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        self.seen.append(len(clips))
        return pa.table({"grey": [round(float(frames.mean()), 3) for frames in clips]})


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    found = Lake(str(tmp_path_factory.mktemp("lake")))
    found.ensure()
    films = {name: np.full((4, 16, 16, 3), grey, np.uint8) for name, grey in GREYS.items()}
    stored = {name: encode_mp4(frames, 4.0) for name, frames in films.items()}
    found.write_clip_bytes({**stored, BROKEN: b"no film"})
    return found


def clips(*names: str) -> list[Clip]:
    size = {"width": 16, "height": 16}
    return [Clip(clip_id=name, offset_s=0.0, duration_s=1.0, **size) for name in names]


def inference(lake: Lake, settings: Settings, parallel: str = "inline") -> Inference:
    return Inference(parallel, settings, lake, FrameReader(lake, RECIPE, 2), lambda: None)


def told(tables: Sequence[pa.Table]) -> dict[str, float | str]:
    """What was said of each clip, or why nothing was."""
    rows = [row for table in tables for row in table.to_pylist()]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row["failed"] or row["grey"] for row in rows}


@pytest.mark.parametrize("parallel", ["inline", "auto"])
def test_every_clip_is_answered_in_batches_and_a_broken_one_says_why(
    lake: Lake, own_home: Settings, parallel: str
) -> None:
    model, counts = Grey(), list[int]()
    asked = clips("a", "b", BROKEN, "c", "d")
    tables = list(inference(lake, own_home, parallel).run(model, asked, counts.append))
    answers = told(tables)
    assert list(map(len, tables)) == counts == [2, 2, 1]
    assert model.seen == [2, 1, 1]
    assert "decode" in str(answers.pop(BROKEN))
    assert answers == {name: pytest.approx(grey, abs=3) for name, grey in GREYS.items()}
    assert list(inference(lake, own_home, parallel).run(model, [], counts.append)) == []


def test_a_batch_of_broken_clips_alone_is_answered_too(lake: Lake, own_home: Settings) -> None:
    model = Grey()
    tables = list(inference(lake, own_home).run(model, clips("a", "b", BROKEN), lambda _: None))
    (together,) = collected(tables, 100)
    assert told([together]).keys() == {"a", "b", BROKEN}
    assert model.seen == [2]


def test_workers_say_what_this_process_says(lake: Lake, own_home: Settings) -> None:
    asked, here = clips("a", BROKEN), Grey()
    expected = told(list(inference(lake, own_home).run(here, asked, lambda _: None)))
    table, cores, gpu = clips_table(asked), Grey(), Grey()
    worker = CoreWorker(pickle.loads(pickle.dumps(cores)), lake.pinned(), 3)
    assert told([worker(table)]) == expected
    looked = look_at(table, look=gpu.look, lake=lake.pinned())
    assert told([GpuWorker(gpu)(looked)]) == expected
    assert gpu.where == ("cuda", 1)


def test_an_embedder_gives_vectors_and_signatures_in_the_lakes_form(lake: Lake) -> None:
    seen = np.zeros((3, 16, 16, 3), np.uint8)
    answer = EmbeddingModel(MeasuredEmbedder(RECIPE)).answer([seen, seen])
    rows = answer.append_column("clip_id", [["a", "b"]])
    found = Lake(f"{lake.uri}-2")
    found.ensure()
    found.upsert("clips", rows)
    assert found.read("clips", ["signature"])["signature"].to_pylist() == [bytes(3 * 144)] * 2


def test_workers_read_the_lake_as_it_was_when_they_were_asked(tmp_path: Path) -> None:
    lake = Lake(f"{tmp_path}/lake")
    lake.ensure()
    before = lake.pinned()
    lake.write_clip_bytes({"late": b"later"})
    assert (before.count("clip_bytes"), lake.count("clip_bytes")) == (0, 1)
    assert pickle.loads(pickle.dumps(before)).versions() == before.versions() != lake.versions()
    with pytest.raises(NotFoundError):
        before.read_clip_bytes(["late"])
    assert sees(before, 0)
    assert not sees(before, 1)
    assert not sees(Lake(f"{tmp_path}/elsewhere"), 0)


@pytest.mark.parametrize(
    ("parallel", "left_s", "pool", "expected"),
    [
        ("auto", LONG_S, Pool(nodes=2, workers=2), True),
        ("auto", LONG_S, Pool(nodes=1, workers=1, gpus=1), True),
        ("auto", LONG_S, Pool(nodes=1, workers=4), False),  # this process has those cores, too
        ("auto", LONG_S, Pool(nodes=2), False),  # nobody is free
        ("auto", LONG_S, Pool(), False),  # no cluster
        ("inline", 1e9, Pool(nodes=9, workers=9), False),
        ("ray", 0.0, Pool(), True),
    ],
)
def test_long_work_moves_where_there_is_more_than_this_process_has(
    parallel: str, left_s: float, pool: Pool, expected: bool
) -> None:
    assert moves(parallel, left_s, lambda: pool) is expected


def test_short_work_asks_no_cluster() -> None:
    assert not moves("auto", LONG_S / 2, lambda: pytest.fail("it was asked"))


def test_another_way_is_refused_with_those_that_there_are(lake: Lake, own_home: Settings) -> None:
    with pytest.raises(InputError, match=r"'spark'; use 'auto', 'inline', 'ray'"):
        inference(lake, own_home, "spark")


def test_answers_are_stored_together_by_number_or_when_time_went_by() -> None:
    tables = [pa.table({"clip_id": [str(number)] * 2}) for number in range(5)]
    assert [len(table) for table in collected(tables, 4)] == [4, 4, 2]
    assert [len(table) for table in collected(tables, 100, seconds=0)] == [2] * 5
    assert list(collected([], 4)) == []
