import dataclasses
from pathlib import Path

import pytest
import torch

from infra.errors import InputError, NotFoundError
from modeling.activations import activation_bytes, kept_bytes, row_bytes
from modeling.bundle import Bundle
from modeling.dit import DiT, DiTConfig
from modeling.documents import pack
from modeling.plan import check_compute, plan
from modeling.recipes import ModelRecipe, tiny
from modeling.sizes import by_name
from modeling.workload import Batch, batch_flops, count_parameters, packed_batch
from tests.unit.modeling.small import document, small_bundle, small_recipe

# Two blocks of width 64 with 128 hidden values: patches meet 10 d^2 in each, text 2 d^2.
MATRICES, TEXT_MATRICES = 2 * 10 * 64 * 64, 2 * 2 * 64 * 64
OUTSIDE = 24 * 64 + 32 * 64 + 64 * 24  # patches in, places, patches out
TEXT_OUTSIDE = 64 * 64 + 32 * 64  # text in, places


@pytest.fixture(scope="module")
def real() -> Bundle:
    return small_bundle()


def changed(recipe: ModelRecipe, part: str, **values: object) -> ModelRecipe:
    new = dataclasses.replace(getattr(recipe.dit, part), **values)
    return dataclasses.replace(recipe, dit=dataclasses.replace(recipe.dit, **{part: new}))


def test_parameters_are_those_of_the_real_modules(real: Bundle) -> None:
    counts = count_parameters(real.recipe)
    for module, count in ((real.vae, counts.vae), (real.dit, counts.transformer)):
        assert sum(parameter.numel() for parameter in module.parameters()) == count
    assert counts.matrices == MATRICES and counts.rowwise == MATRICES + OUTSIDE
    assert counts.textwise == counts.text_matrices + TEXT_OUTSIDE == TEXT_MATRICES + TEXT_OUTSIDE


def test_work_is_what_a_hand_comes_to() -> None:
    recipe = small_recipe()
    batch = Batch(rows=30, words=5, pairs=10 * 12 + 15 * 18)  # 10 and 15 patches, 2 and 3 words
    blocks, attention = MATRICES * 25 + TEXT_MATRICES * 5, 2 * 64 * batch.pairs
    model, again = batch_flops(recipe, count_parameters(recipe), batch)
    assert model == 6 * (blocks + OUTSIDE * 25 + TEXT_OUTSIDE * 5) + 12 * attention
    assert again == 0
    whole = changed(recipe, "compute", checkpointing="full")
    assert batch_flops(whole, count_parameters(whole), batch) == (model, 2 * blocks + 4 * attention)
    half = changed(recipe, "compute", checkpointing="selective", checkpoint_every=2)
    assert batch_flops(half, count_parameters(half), batch)[1] == blocks + 2 * attention


def test_a_batch_holds_windows_and_images_with_their_captions() -> None:
    recipe = tiny()  # windows of 4 x 48 x 64 pixels / 16^2 = 48 rows, images of 12; 64 of text
    mean = 0.9 * 112 + 0.1 * 76
    assert packed_batch(recipe).rows == round(64 * mean)
    assert packed_batch(recipe).words == 64 * 64
    pairs = 0.9 * 48 * 112 + 0.1 * 12 * 76
    assert packed_batch(recipe).pairs == pytest.approx(64 * pairs)
    packed = packed_batch(changed(recipe, "optimizer", token_budget=1000))
    assert packed.rows == 1000
    assert packed.pairs == pytest.approx(1000 / mean * pairs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "config",
    [
        DiTConfig(width=256, depth=3, heads=4, latent_channels=6, text_width=64),
        DiTConfig(width=384, depth=2, heads=3, latent_channels=6, text_width=64, mlp_ratio=4.0),
    ],
)
def test_activations_are_what_autograd_keeps_to_a_tenth(config: DiTConfig, precision: str) -> None:
    model = DiT(config)
    batch = [document(3, 8, 8, 8, seed) for seed in range(12)]
    rows = len(pack(batch, config).patches_NP)
    copies = 2 * sum(p.numel() for p in model.parameters()) if precision == "bfloat16" else 0
    expected = kept_bytes(model, batch, precision) - copies
    per_row = row_bytes(config, precision)
    kept = activation_bytes(per_row, rows, config.depth) - rows * per_row.block
    assert kept == pytest.approx(expected, rel=0.1)


def test_what_is_computed_again_is_not_kept() -> None:
    per_row = row_bytes(tiny().dit.config, "float32")
    none, some, all_ = (
        activation_bytes(per_row, 100, 6, setting, every=3)
        for setting in ("none", "selective", "full")
    )
    block, entry, rest = per_row.block, per_row.entry, per_row.rest
    assert none == 100 * (6 * block + rest + block)
    assert some == pytest.approx(100 * (4 * block + 2 * entry + rest + 2 * block))
    assert all_ == pytest.approx(100 * (6 * entry + rest + 2 * block))


def test_sharding_divides_what_is_kept_of_weights() -> None:
    recipe = by_name("base")
    alone, spread = (plan(recipe, gpus).memory_gib["full"] for gpus in (1, 16))
    weights = 4 * count_parameters(recipe).trained / 2**30
    for part in ("weights", "gradients", "average"):
        assert alone[part] == pytest.approx(weights) and spread[part] == pytest.approx(weights / 16)
    assert alone["moments"] < 2 * weights  # Muon keeps one of a matrix, not two
    assert sum(size for part, size in spread.items() if part != "total") == spread["total"]


def test_a_frozen_text_encoder_takes_its_place_on_every_gpu(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(2**20))
    values = {"encoder": "hugging_face", "source": str(tmp_path)}
    found = plan(changed(by_name("base"), "text", **values), 64)
    assert found.memory_gib["none"]["text encoder"] == 2**-10
    assert found.parameters["text"] == 2048  # the row of no caption


def test_time_follows_from_work_peak_and_utilisation() -> None:
    found = plan(by_name("base"), 64, "h100", utilisation=0.5)
    assert found.step_rows == found.batch_rows * found.accumulate * 64 == 2**20
    work = found.model_flops + found.recompute_flops
    assert found.step_s == pytest.approx(work / (64 * 989e12 * 0.5))
    assert found.gpu_hours == pytest.approx(found.steps * found.step_s * 64 / 3600)
    assert found.days == pytest.approx(found.gpu_hours / 64 / 24)
    assert found.tokens_per_s == pytest.approx(found.step_rows / found.step_s)
    assert found.obstacle == ""
    few = plan(by_name("base"), 8, "h100", utilisation=0.5)
    assert few.step_rows == found.step_rows and few.gpu_hours == pytest.approx(
        found.gpu_hours, rel=0.01
    )


def test_what_does_not_fit_is_refused_with_what_would_do() -> None:
    found = plan(by_name("large"), 1, "h100")
    assert "does not fit on 1 x h100: each needs" in found.obstacle
    assert "the most is moments" in found.obstacle and "--gpus 4" in found.obstacle
    on_more = plan(by_name("large"), 4, "h100")
    assert on_more.obstacle == ""
    remembering = changed(by_name("base"), "compute", checkpointing="none")
    assert 'What would do: checkpointing "selective"' in plan(remembering, 1).obstacle
    assert "--gpu " in plan(by_name("base"), 1, "rtx4090").obstacle


@pytest.mark.parametrize(
    ("gpus", "gpu", "utilisation", "message"),
    [
        (0, "h100", 0.4, "--gpus is 0"),
        (1, "tpu", 0.4, "no GPU called 'tpu'; there are: a100, "),
        (1, "h100", 0.0, "--utilisation is 0; it has to be above 0"),
        (1, "h100", 40.0, "--utilisation is 40; it has to be above 0 and at most 1"),
    ],
)
def test_wrong_questions_are_refused(gpus: int, gpu: str, utilisation: float, message: str) -> None:
    with pytest.raises((InputError, NotFoundError), match=message):
        plan(tiny(), gpus, gpu, utilisation)


def test_a_window_larger_than_a_batch_is_refused() -> None:
    recipe = changed(tiny(), "optimizer", token_budget=100)
    with pytest.raises(InputError, match=r"window of recipe 'tiny' has 112 rows .* is 100; raise"):
        packed_batch(recipe)


def test_a_machine_without_gpus_takes_the_demo_and_refuses_what_would_take_months(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_compute(tiny())
    for name in ("small", "base", "large"):
        with pytest.raises(InputError, match=f"'{name}' would take [0-9,]+ days on this machine"):
            check_compute(by_name(name))
