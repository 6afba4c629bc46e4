"""Previews by a real model: the engine's videos are the same with them as without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.catalog import Catalog
from infra.video import each_frame
from modeling.generate import Generator
from serving.engine import Engine
from serving.jobs import JobStore
from serving.previewer import PreviewRecipe
from tests.unit.modeling.small import small_bundle
from tests.unit.serving.test_engine import queue, until


class Watched(JobStore):
    """Notes the previews, which go when the video is there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.seen: list[Any] = []

    def preview(self, claim: Any, data: Any, *, replace: bool) -> bool:
        self.seen.append(data)
        return super().preview(claim, data, replace=replace)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.migrate()
    yield Watched(catalog, tmp_path / "media", ttl_s=3600, lease_s=60)
    catalog.close()


def test_a_video_is_the_same_with_previews_as_without(store: Watched) -> None:
    bundle = small_bundle()
    videos, counts = [], []
    for recipe in (PreviewRecipe(most=0), PreviewRecipe(share=1.0, least_s=0.0, unfollowed=True)):
        engine = Engine(store, lambda: Generator(bundle), "3", previews=recipe)
        jobs = [queue(store, seed=seed, steps=14, guidance=2.0) for seed in (1, 2)]
        engine.start()
        until(lambda jobs=jobs: all(store.get(j.id).status == "completed" for j in jobs))
        engine.stop()
        counts.append(len(store.seen))
        for job in jobs:
            (file,) = store.folder(job.id).glob("video-*.mp4")
            videos.append(np.stack(list(each_frame(file))))
    assert counts[0] == 0 and counts[1] >= 2
    assert (videos[0] == videos[2]).all() and (videos[1] == videos[3]).all()
    assert (videos[0] != videos[1]).any()
    assert all(data["image"].startswith("data:image/webp") for data in store.seen)
