"""A perceptual loss by a network of torchvision, with weights that torchvision made at random."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from infra.errors import InputError
from modeling.perceptual import PerceptualLoss, perceptual_loss
from modeling.recipes import PerceptualRecipe, tiny
from modeling.train_vae import vae_loss
from modeling.vae import VideoVAE
from tests.unit.modeling.small import shaken, small_recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> PerceptualRecipe:
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    factory, layers = "torchvision.models.squeezenet1_1", ("features.1", "features.4")
    return PerceptualRecipe(factory=factory, weights=str(path), layers=layers)


def video(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 5, 32, 48, 3, generator=generator) * 2 - 1


def test_equal_pictures_are_at_no_distance_and_others_further_the_more_they_differ(
    recipe: PerceptualRecipe,
) -> None:
    loss, clip, noise = PerceptualLoss(recipe), video(0), video(1)
    distances = [float(loss(clip + part * noise, clip)) for part in (0.0, 0.1, 0.5)]
    assert distances[0] == 0 and 0 < distances[1] < distances[2]


def test_it_is_part_of_what_the_vae_learns_by(recipe: PerceptualRecipe) -> None:
    base = dataclasses.replace(small_recipe().vae, perceptual=recipe)
    vae = shaken(VideoVAE(base.config)).requires_grad_(True)
    assert isinstance(vae, VideoVAE)
    losses = []
    for perceptual in (None, perceptual_loss(recipe)):
        generator = torch.Generator().manual_seed(0)
        loss = vae_loss(vae, video(0), base, generator, perceptual)
        (gradient,) = torch.autograd.grad(loss, [vae.encoder.linear.weight])
        losses.append((loss, gradient))
    assert losses[1][0] > losses[0][0] and not torch.equal(losses[0][1], losses[1][1])


def test_weights_may_be_safetensors_too(recipe: PerceptualRecipe, tmp_path: Path) -> None:
    state = torch.load(recipe.weights, weights_only=True)
    save_file(state, tmp_path / "w.safetensors")
    other = dataclasses.replace(recipe, weights=str(tmp_path / "w.safetensors"))
    pair = [PerceptualLoss(each)(video(0), video(1)) for each in (recipe, other)]
    assert torch.equal(*pair)


def test_without_a_network_there_is_no_such_loss() -> None:
    assert perceptual_loss(tiny().vae.perceptual) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factory": "torchvision.models.vgg99"}, "'torchvision.models.vgg99' cannot be imported"),
        ({"factory": "vgg16"}, "'vgg16' cannot be imported"),
        ({"factory": "torchvision.models.mobilenet_v2"}, "holds no weights of torchvision"),
        ({"factory": "builtins.dict"}, "makes a dict, not a torch module"),
        ({"weights": "nowhere.pth"}, "'nowhere.pth' are no file"),
        ({"layers": ("features.99",)}, "no layer 'features.99'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    recipe: PerceptualRecipe, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PerceptualLoss(dataclasses.replace(recipe, **change))  # type: ignore[arg-type]


class _Danger:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_a_file_that_would_run_code_is_refused(
    recipe: PerceptualRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"features.0.weight": _Danger()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="holds no weights"):
        PerceptualLoss(dataclasses.replace(recipe, weights=str(tmp_path / "bad.pth")))
    assert "unpickled" not in capsys.readouterr().out
