import pytest

from captioning.training import Labelled, measure, train
from tests.unit.captioning.bars import TINY, labelled


@pytest.fixture(scope="module")
def unseen() -> list[Labelled]:
    """Bars that start where no training clip starts."""
    return labelled(range(1, 16, 2))


def test_learns_colour_and_motion_from_captions(unseen: list[Labelled]) -> None:
    metrics: list[dict[str, float]] = []
    captioner, heldout = train(
        labelled(range(0, 16, 2)), TINY, lambda step, values: metrics.append(values)
    )
    assert measure(captioner, unseen, TINY).exact > 0.8  # chance is 0.25
    assert heldout.clips > 0
    assert len(metrics) == TINY.steps
    assert metrics[-1]["caption_loss"] < metrics[0]["caption_loss"] / 4
    assert "heldout_exact" in metrics[-1]
