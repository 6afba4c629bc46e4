"""Features of videos by a small network that is trained on the release's own clips.

It learns which words the captions use, and to tell real time from shuffled and from frozen frames.
So its features see what the footage's captions speak of, and motion. Half of the training clips
teach it, the other half are the reference that videos are compared with. It is trained once for a
release and kept: models of one release are measured with the same eyes. The distance by it is
called `fd_words`; it says nothing across releases, and it is no FVD.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Generator, Tensor, nn

from modeling.data import Clip
from modeling.extractors import as_tensor
from modeling.trainer import rng
from modeling.weights import save_weights

NUM_FRAMES, SIDE, WIDTH = 8, 24, 32
STEPS, BATCH, RATE = 100, 64, 3e-3
MAX_WORDS, MIN_SHARE = 64, 0.03
WORD = re.compile(r"\w+")
NATURAL, SHUFFLED, FROZEN = range(3)


class WordNetwork(nn.Module):
    """Videos (B, T, C, H, W) in [0, 1] to features (B, 32). Time is folded into channels."""

    def __init__(self, words: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3 * NUM_FRAMES, 48, 64, 96)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.features = nn.Linear(widths[-1] * (SIDE // 8) ** 2, WIDTH)
        self.words = nn.Linear(WIDTH, max(words, 1))  # torch warns about a layer of nothing
        self.time = nn.Linear(WIDTH, 3)

    def forward(self, videos_BTCHW: Tensor) -> Tensor:
        x = videos_BTCHW
        if x.shape[1] != NUM_FRAMES:
            x = x[:, torch.linspace(0, x.shape[1] - 1, NUM_FRAMES).round().long()]
        if x.shape[3:] != (SIDE, SIDE):
            x = F.adaptive_avg_pool2d(x.flatten(0, 1), SIDE).unflatten(0, x.shape[:2])
        out: Tensor = self.features(self.body(x.flatten(1, 2) * 2 - 1))
        return out


def vocabulary(captions: Sequence[str]) -> list[str]:
    """Words that tell captions apart: neither in nearly none of them nor in nearly all."""
    counts = Counter(word for caption in captions for word in words_of(caption))
    low, high = MIN_SHARE * len(captions), (1 - MIN_SHARE) * len(captions)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [word for word in ranked if low <= counts[word] <= high][:MAX_WORDS]


def words_of(caption: str) -> set[str]:
    return set(WORD.findall(caption.lower()))


def halves(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """The clips that teach the network, and those that videos are compared with."""
    return list(clips[::2]), list(clips[1::2])


def kept_network(clips: Sequence[Clip], path: Path) -> WordNetwork:
    """The network in `path`, which is trained on the teaching half of `clips` when missing."""
    teaching = halves(clips)[0]
    words = vocabulary([clip.caption for clip in teaching])
    if not path.exists():
        save_weights(train(teaching, words), path)
    network = WordNetwork(len(words))
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)


def train(clips: Sequence[Clip], words: Sequence[str], steps: int = 0) -> WordNetwork:
    """A network that was shown these clips; the same clips give the same one."""
    videos, steps = _videos(clips), steps or STEPS
    known = [words_of(clip.caption) for clip in clips]
    has_NW = torch.tensor([[float(word in some) for word in words] for some in known])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WordNetwork(len(words))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05, fused=True)
    for step in range(steps):
        generator = rng(0, step)
        index = torch.randint(len(clips), (BATCH,), generator=generator)
        time = torch.randint(3, (BATCH,), generator=generator)
        seen = altered(videos[index], time, generator)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        features = network(seen)
        loss = F.cross_entropy(network.time(features), time)
        if words:
            # Frozen and shuffled clips still show what is in the caption, but for how it moves.
            said = F.binary_cross_entropy_with_logits(
                network.words(features), has_NW[index], reduction="none"
            )
            loss = loss + 4 * said[time == NATURAL].mean() if (time == NATURAL).any() else loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def altered(videos_BTCHW: Tensor, time_B: Tensor, generator: Generator) -> Tensor:
    """The videos with their frames as they were, in another order, or all alike."""
    count = videos_BTCHW.shape[1]
    order_BT = torch.arange(count).repeat(len(videos_BTCHW), 1)
    shuffled = torch.rand(order_BT.shape, generator=generator).argsort(1)
    frozen = torch.randint(count, (len(order_BT), 1), generator=generator).expand_as(order_BT)
    order_BT = torch.where((time_B == SHUFFLED)[:, None], shuffled, order_BT)
    order_BT = torch.where((time_B == FROZEN)[:, None], frozen, order_BT)
    return torch.stack([video[order] for video, order in zip(videos_BTCHW, order_BT, strict=True)])


def _videos(clips: Sequence[Clip]) -> Tensor:
    small = [F.adaptive_avg_pool2d(as_tensor(clip.frames_THWC, NUM_FRAMES), SIDE) for clip in clips]
    return torch.stack(small)
