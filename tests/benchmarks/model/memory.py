"""Peak memory of the VAE over length, and of a very large picture. A process of its own for each.

Expected before it was measured: 1.01 for 513 frames over 17, since a stream holds one group, and
1.5 GB for the picture: half a gigabyte is the interpreter with torch, and attention over 16,384
patches never is a matrix.
"""

import json
import subprocess
import sys
from pathlib import Path

from infra.errors import NotFoundError
from tests.benchmarks.figure import Figure

MODELS = Path(".reel/demo/models")
FRAMES = (17, 513)
SIDE = 2048

STREAM = """
import json, resource, sys
import torch
from modeling.recipes import tiny
from modeling.vae import VideoVAE
torch.set_num_threads(1)
frames, vae = int(sys.argv[1]), VideoVAE(tiny().vae.config).eval().requires_grad_(False)
encoder, decoder, shown = vae.encoder_cache(), vae.decoder_cache(), 0
for number in range(frames):
    frame = torch.full((1, 1, 160, 256, 3), number / frames - 0.5)
    shown += vae.decode(vae.encode(frame, encoder), decoder).shape[1]
assert shown == frames, shown
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""

PICTURE = """
import json, resource, sys, time
from pathlib import Path
from modeling.bundle import load_bundle
from modeling.large_image import large_image
bundle, side = load_bundle(Path(sys.argv[1])), int(sys.argv[2])
begun = time.process_time()
picture = large_image(bundle, "a large red circle on a dark background", height=side, width=side,
                      seed=1)
assert picture.shape == (side, side, 3), picture.shape
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak, time.process_time() - begun]))
"""


def vae_rss_long_over_short() -> dict[str, Figure]:
    """Peak memory of a process that encodes and decodes a stream of 513 frames, over 17 frames."""
    short, long = (_run(STREAM, str(frames))[0] for frames in FRAMES)
    figure: Figure = {
        "value": round(long / short, 4),
        "target": 1.15,
        "better": "lower",
        "n": len(FRAMES),
        "note": f"{short / 2**10:.0f} and {long / 2**10:.0f} MiB, frames of 160x256 one by one",
    }
    return {"vae_rss_long_over_short": figure}


def image_2048_rss_gb() -> dict[str, Figure]:
    """Peak memory of a process that makes one picture of 2048x2048 with the demo's model."""
    peak, seconds = _run(PICTURE, str(newest_bundle()), str(SIDE))
    figure: Figure = {
        "value": round(peak * 1024 / 1e9, 3),
        "target": 6.0,
        "better": "lower",
        "n": 1,
        "note": f"two stages, 16,384 patches in the second, {seconds:.0f} s of processor time; "
        "it runs, the demo's model was not trained at this size",
    }
    return {"image_2048_rss_gb": figure}


def newest_bundle() -> Path:
    """The demo's latest model version."""
    versions = [path for path in MODELS.glob("*") if path.name.isdecimal()]
    if not versions:
        raise NotFoundError(f"{MODELS} holds no model; run `make demo` first")
    return max(versions, key=lambda path: int(path.name))


def _run(program: str, *arguments: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, check=True
    )
    found: list[float] = json.loads(done.stdout)
    return found
