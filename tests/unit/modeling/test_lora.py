import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infra.errors import InputError
from infra.job_files import read_json
from modeling.dit import DiT
from modeling.documents import pack
from modeling.lora import LoRARecipe, add_adapters, merge_adapters, save_adapters
from tests.unit.modeling.small import document, shaken, small_recipe

CONFIG = small_recipe().dit.config
RECIPE = LoRARecipe(rank=4, alpha=8.0)
ROWS = pack([document(2, 6, 6, 3, 1), document(1, 4, 8, 5, 2)], CONFIG)


@pytest.fixture(scope="module")
def plain() -> DiT:
    model = shaken(DiT(CONFIG))
    assert isinstance(model, DiT)
    return model


def adapted(plain: DiT, recipe: LoRARecipe = RECIPE) -> DiT:
    model = copy.deepcopy(plain).requires_grad_(True)
    add_adapters(model, recipe)
    return model


def test_new_adapters_change_nothing(plain: DiT) -> None:
    assert torch.equal(adapted(plain)(ROWS), plain(ROWS))


def test_only_adapters_have_gradients(plain: DiT) -> None:
    model = adapted(plain)
    model(ROWS).square().mean().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    adapters = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert with_gradient == adapters and len(adapters) == 2 * 5 * CONFIG.depth


def test_merged_is_adapted_to_a_part_in_a_hundred_thousand(plain: DiT) -> None:
    model = adapted(plain)
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    before = model(ROWS)
    merge_adapters(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert not torch.allclose(before, plain(ROWS), atol=1e-2)
    assert (model(ROWS) - before).abs().max() < 1e-5 * before.abs().max()


def test_adapters_alone_have_the_names_that_peft_reads(plain: DiT, tmp_path: Path) -> None:
    model = adapted(plain, dataclasses.replace(RECIPE, targets=("qkv",)))
    save_adapters(model, RECIPE, tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.blocks.0.qkv"
    assert state[f"{prefix}.lora_A.weight"].shape == (4, CONFIG.width)
    assert state[f"{prefix}.lora_B.weight"].shape == (3 * CONFIG.width, 4)
    assert len(state) == 2 * CONFIG.depth
    about = read_json(tmp_path / "adapter_config.json")
    assert about is not None and (about["r"], about["lora_alpha"]) == (4, 8.0)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (LoRARecipe(rank=4, targets=("query",)), "no linear layer 'query' to adapt; there are: "),
        (LoRARecipe(rank=64), "LoRA's rank is 64; it has to lie between 1 and 63"),
        (LoRARecipe(rank=-1), "LoRA's rank is -1"),
    ],
)
def test_what_cannot_be_adapted_is_refused(plain: DiT, recipe: LoRARecipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        adapted(plain, recipe)
