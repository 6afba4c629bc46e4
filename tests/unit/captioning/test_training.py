from dataclasses import replace

import pytest
import torch

from captioning.training import Labelled, is_heldout, measure, train
from tests.unit.captioning.bars import TINY, clip, labelled


def test_same_seed_same_weights() -> None:
    clips, recipe = labelled(range(0, 16, 4)), replace(TINY, steps=3)
    one, other = (train(clips, recipe)[0].model.state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_heldout_share_is_stable_and_near_what_was_asked() -> None:
    chosen = [is_heldout(f"clip {index}", 0.1) for index in range(2000)]
    assert 0.08 < sum(chosen) / len(chosen) < 0.12
    assert chosen == [is_heldout(f"clip {index}", 0.1) for index in range(2000)]


def test_a_stop_request_ends_training() -> None:
    def stop(step: int, _metrics: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(labelled(range(0, 16, 4)), TINY, stop)


def test_measure_counts_words_in_place() -> None:
    class Parrot:
        def caption(self, _views: torch.Tensor) -> list[tuple[str, float]]:
            return [("a red bar moves left.", 0.9), ("a red bar", 0.5)]

    clips = [
        Labelled(clip_id=str(n), frames=clip("red", "left", n), caption="A red bar moves left.")
        for n in range(2)
    ]
    found = measure(Parrot(), clips, TINY)  # type: ignore[arg-type]
    assert found.exact == 0.5
    assert found.tokens == (6 + 3) / 12
    assert found.score == pytest.approx(0.7)
