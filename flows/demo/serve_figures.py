"""What serving costs: a video through HTTP beside the same video from the bare sampler."""

import statistics
import time
from typing import TYPE_CHECKING, Any

from flows.demo.figures import Figure

if TYPE_CHECKING:
    from modeling.generate import Generator

PAIRS = 5
SECONDS = 4


def serve_over_sampler(
    client: Any, generator: "Generator", prompt: str, size: tuple[int, int], pairs: int = PAIRS
) -> Figure:
    """Median over interleaved pairs of (request less encoding) over sampling the same video here.

    `client` is an openai client; `size` is (width, height) as asked for. Each pair has a seed of
    its own; the first pair only warms both sides up.
    """
    ratios, served, sampled, encoded = [], [], [], []
    for seed in range(pairs + 1):
        request_s, encode_s = _through_http(client, prompt, size, seed)
        bare_s = _bare(generator, prompt, size, seed)
        if seed:
            ratios.append((request_s - encode_s) / bare_s)
            served.append(request_s)
            sampled.append(bare_s)
            encoded.append(encode_s)
    note = (
        f"request {statistics.median(served):.2f} s, of it encoding "
        f"{statistics.median(encoded):.2f} s; bare sampler {statistics.median(sampled):.2f} s; "
        f"ratios {', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))}"
    )
    return Figure(value=statistics.median(ratios), n=pairs, note=note)


def _through_http(
    client: Any, prompt: str, size: tuple[int, int], seed: int
) -> tuple[float, float]:
    """Seconds from the request until the client knows that its video is done, and of encoding."""
    begun = time.perf_counter()
    video = client.videos.create_and_poll(
        prompt=prompt,
        seconds=str(SECONDS),
        size=f"{size[0]}x{size[1]}",
        extra_body={"seed": seed},
    )
    request_s = time.perf_counter() - begun
    return request_s, video.model_extra["x_timings"]["encode_s"]


def _bare(generator: "Generator", prompt: str, size: tuple[int, int], seed: int) -> float:
    """Seconds that this process takes for the frames alone."""
    from modeling.tasks import Request

    height, width = generator.native_size(*size)
    request = Request(
        prompt=prompt,
        num_frames=generator.num_frames(SECONDS),
        height=height,
        width=width,
        seed=seed,
    )
    begun = time.perf_counter()
    generator.generate(request)
    return time.perf_counter() - begun
