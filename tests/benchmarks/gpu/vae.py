"""The VAE on a GPU: `base`'s beside LTX's at 4x8x8 and as many parameters, in bfloat16.

Expected before it was measured: 2.5 of LTX, as on a CPU, if not more: at full resolution it has
nothing to do.
"""

import torch

from modeling.device import compute_device
from modeling.sizes import base
from modeling.vae import VideoVAE
from tests.benchmarks.figure import Figure
from tests.benchmarks.gpu.device import ROUNDS, half, in_turns
from tests.benchmarks.model.vae import count, ltx

FRAMES, HEIGHT, WIDTH = 49, 288, 512


@torch.inference_mode()
def vae_speed() -> dict[str, Figure]:
    """Pixels a second of one clip as `base` trains on, encoded and decoded."""
    device, config = compute_device(), base().vae.config
    torch.manual_seed(0)
    ours = VideoVAE(config).to(device, memory_format=torch.channels_last).eval()
    with torch.device("meta"):
        channels = config.latent_channels
        width = min(range(16, 256, 4), key=lambda w: abs(count(ltx(w, channels)) - count(ours)))
    peer = ltx(width, channels).to(device).eval()
    video = 2 * torch.rand(1, FRAMES, HEIGHT, WIDTH, 3, device=device) - 1
    theirs = video.movedim(-1, 1)
    with half():
        z, peer_z = ours.encode(video), peer.encode(theirs).latent_dist.mean
        encode = in_turns([lambda: ours.encode(video), lambda: peer.encode(theirs)])
        decode = in_turns([lambda: ours.decode(z), lambda: peer.decode(peer_z)])
    sizes = f"{count(ours) / 1e6:.1f} and {count(peer) / 1e6:.1f} M parameters"
    return {
        f"gpu_vae_{name}_over_ltx": Figure(
            value=taken[1] / taken[0],
            target=2.5,
            better="higher",
            n=ROUNDS,
            note="{:.0f} and {:.0f} megapixels/s, {}".format(
                *(FRAMES * HEIGHT * WIDTH / 1e6 / each for each in taken), sizes
            ),
        )
        for name, taken in (("encode", encode), ("decode", decode))
    }
