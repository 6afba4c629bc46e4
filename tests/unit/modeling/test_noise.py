import pytest
import torch
from torch import Tensor

from modeling.noise import NoiseRecipe, add_noise, over_latents, sample_given, sample_timesteps

NONE = {f"{name}_share": 0.0 for name in ("head", "tail", "ends", "scattered", "outside", "box")}
GRID = (4, 3, 5)


def draw(count: int = 200, grid: tuple[int, int, int] = GRID, **shares: float) -> list[Tensor]:
    recipe, generator = NoiseRecipe(**{**NONE, **shares}), torch.Generator().manual_seed(0)
    return [sample_given(grid, recipe, generator) for _ in range(count)]


def frames(given: Tensor) -> str:
    assert given.shape == (len(given), 1, 1)
    return "".join("x" if one else "." for one in given.flatten().tolist())


def test_patterns_come_in_their_shares_and_never_give_everything() -> None:
    given = [mask.expand(GRID) for mask in draw(2000, head_share=0.3, tail_share=0.2)]
    assert not any(mask.all() for mask in given)
    heads, tails = (sum(bool(mask[at].all()) for mask in given) / 2000 for at in (0, -1))
    assert abs(heads - 0.3) < 0.04 and abs(tails - 0.2) < 0.04


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head", {"x...", "xx..", "xxx."}),
        ("tail", {"...x", "..xx", ".xxx"}),
        ("ends", {"x..x", "xx.x", "x.xx"}),
    ],
)
def test_whole_frames_are_given_where_the_pattern_says(name: str, expected: set[str]) -> None:
    assert {frames(given) for given in draw(**{f"{name}_share": 1.0})} == expected


def test_scattered_frames_are_any_but_none_or_all() -> None:
    assert len({frames(given) for given in draw(scattered_share=1.0)}) == 2**4 - 2


@pytest.mark.parametrize("name", ["box", "outside"])
def test_a_box_is_a_box_and_the_same_in_every_frame(name: str) -> None:
    seen = set()
    for given in draw(400, **{f"{name}_share": 1.0}):
        assert given.shape == GRID and bool((given == given[:1]).all())
        inside = given[0] if name == "box" else ~given[0]
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        height, width = (int(at[-1] - at[0]) + 1 for at in (rows, columns))
        assert int(inside.sum()) == height * width < GRID[1] * GRID[2]
        seen.add((int(rows[0]), int(columns[0]), height, width))
    assert len(seen) > 60  # of the 89 there are


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 1, 4), (2, 3, 1), (2, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("name", ["head", "tail", "ends", "scattered", "box", "outside"])
def test_small_clips_keep_something_to_make(name: str, grid: tuple[int, int, int]) -> None:
    for given in draw(30, grid, **{f"{name}_share": 1.0}):
        assert not given.all() and given.expand(grid).shape == grid
    if grid == (1, 1, 1):
        assert not any(given.any() for given in draw(30, grid, **{f"{name}_share": 1.0}))


def steps_of(given: Tensor, **shares: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    recipe = NoiseRecipe(**shares)
    drawn = [sample_timesteps(given, recipe, generator) for _ in range(1000)]
    return torch.stack(drawn)[:, :, 0, 0]


def test_frames_asked_for_share_a_timestep_or_have_each_their_own() -> None:
    given = torch.tensor([True, False, False, False]).view(-1, 1, 1)
    steps = steps_of(given, independent_share=0.3)
    assert not steps[:, 0].any() and (steps[:, 1:] > 0).all()
    shared = (steps[:, 1] == steps[:, 2]) & (steps[:, 2] == steps[:, 3])
    assert abs(shared.float().mean() - 0.7) < 0.04
    rising = steps_of(~given & given, rising_share=1.0)
    assert (rising.diff() >= 0).all() and (rising.diff() > 0).any()


def test_given_patches_get_no_noise_and_the_others_theirs() -> None:
    """The mask's patches are 2 x 2 latent positions here; x_t is data where t = 0."""
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 4, 3, 6, 10, generator=generator)
    (given,) = draw(1, box_share=1.0)
    timesteps = sample_timesteps(given, NoiseRecipe(), generator)
    noisy = add_noise(latents, noise, timesteps)
    clean = over_latents(given, latents).expand_as(latents)
    assert clean.sum() == given.sum() * 4 * 3
    assert torch.equal(noisy[clean], latents[clean])
    t = timesteps.max()
    torch.testing.assert_close(noisy[~clean], ((1 - t) * latents + t * noise)[~clean])
