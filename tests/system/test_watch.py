import pytest
import torch

from modeling.dit import DiT
from modeling.text import TextEncoder, Tokenizer
from modeling.watch import TIMESTEPS, stratified_loss
from tests.unit.modeling.small import WIDTH, MemoryStore, shaken, small_recipe

CLIPS = MemoryStore(8).clips(range(8))
TOKENIZER = Tokenizer(["a", "red", "ball"])


def losses(seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    dit, text = DiT(small_recipe().dit.config), TextEncoder(len(TOKENIZER), WIDTH)
    return stratified_loss(shaken(dit, seed), shaken(text, 1), CLIPS, TOKENIZER, 8.0)  # type: ignore[arg-type]


def test_only_the_weights_change_the_heldout_loss() -> None:
    assert losses(0) == losses(0) != losses(2)


def test_the_loss_of_all_is_the_mean_over_timesteps_and_over_tasks() -> None:
    found = losses(0)
    levels = [found[f"heldout/t_{timestep:.2f}"] for timestep in TIMESTEPS]
    tasks = [found["heldout/text_to_video"], found["heldout/image_to_video"]]
    assert sum(levels) / 8 == pytest.approx(found["heldout/all"], rel=1e-5)
    assert sum(tasks) / 2 == pytest.approx(found["heldout/all"], rel=1e-5)
    assert len(set(levels)) == 8 and tasks[0] != tasks[1]
