import pytest
import torch

from captioning.pictures import augment, tile, weave, window, window_starts


def numbered(grid: int, size: int) -> torch.Tensor:
    """One clip whose pixels are 100·frame + 10·y + x, (1, grid², size, size, 1)."""
    frame = torch.arange(grid**2).view(1, -1, 1, 1, 1) * 100
    y = torch.arange(size).view(1, 1, -1, 1, 1) * 10
    return frame + y + torch.arange(size).view(1, 1, 1, -1, 1)


def test_tiles_lie_in_reading_order() -> None:
    picture = tile(numbered(2, 2), 2)[0, 0]
    assert picture.tolist() == [
        [0, 1, 100, 101],
        [10, 11, 110, 111],
        [200, 201, 300, 301],
        [210, 211, 310, 311],
    ]


def test_woven_patch_holds_one_place_at_all_times() -> None:
    picture = weave(numbered(2, 4), 2, patch=2)[0, 0]
    assert picture.shape == (8, 8)
    assert picture[:4, 4:].tolist() == [
        [2, 3, 102, 103],
        [12, 13, 112, 113],
        [202, 203, 302, 303],
        [212, 213, 312, 313],
    ]


def test_weaving_whole_frames_is_tiling() -> None:
    frames = torch.rand(2, 9, 4, 4, 3)
    assert torch.equal(weave(frames, 3, patch=4), tile(frames, 3))


@pytest.mark.parametrize(
    ("frames", "views", "starts"),
    [(20, 3, [0, 6, 13]), (20, 1, [6]), (7, 3, [0, 0, 0]), (3, 2, [0, 0])],
)
def test_windows_spread_over_the_clip(frames: int, views: int, starts: list[int]) -> None:
    assert window_starts(frames, 7, views) == starts


def test_window_of_a_short_clip_repeats_its_last_frame() -> None:
    assert window(3, 0, 4, 2) == [0, 2, 2, 2]


def test_augment_keeps_left_left_and_moves_all_frames_alike() -> None:
    frames = -torch.ones(8, 4, 32, 32, 3)
    frames[:, :, 8:24, 4:12] = 1.0  # a bright bar on the left
    changed = augment(
        frames,
        shift=0.1,
        zoom=0.05,
        brightness=0.1,
        noise=0.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert changed[:, :, :, :16].mean() > changed[:, :, :, 16:].mean() + 0.5
    assert torch.allclose(changed[:, 0], changed[:, 3])
    assert not torch.allclose(changed[0], changed[1])
