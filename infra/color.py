"""High dynamic range brought to what an ordinary screen shows: BT.2020 PQ or HLG to BT.709."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter

WHITE_NITS = 203.0  # of a white page in HDR (BT.2408); it becomes 90 % of SDR's white
PEAK_NITS = 1000.0  # what is brighter is all white
KNEE = 0.5  # of WHITE_NITS; what is darker keeps its light
CODES = 4096
GAMMA = 2.4  # of an SDR screen (BT.1886)
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
TO_BT709 = np.array(  # from BT.2020, linear light (BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def is_hdr(frame: Any) -> bool:
    """Whether a decoded frame says that its levels are PQ's or HLG's."""
    return frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def sdr_picture(
    frame: Any,
    width: int,
    height: int,
    interpolation: Interpolation,
    reformatter: VideoReformatter,
) -> npt.NDArray[np.uint8]:
    """(height, width, 3) RGB of an HDR frame, scaled and then brought to SDR."""
    untagged = frame.colorspace == UNSPECIFIED
    codes: Any = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb48le",
        src_colorspace=Colorspace.BT2020 if untagged else None,
        interpolation=interpolation,
        threads=1,
    ).to_ndarray()
    light = _light(frame.color_trc)[codes >> 4]
    if frame.color_trc == ColorTrc.ARIB_STD_B67:
        # A screen of PEAK_NITS shows HLG with a system gamma of 1.2 on luminance (BT.2100).
        luma = light @ np.array([0.2627, 0.678, 0.0593], np.float32)
        light *= (PEAK_NITS / WHITE_NITS) * np.maximum(luma, 1e-6)[..., None] ** np.float32(0.2)
    brightest = np.maximum(light.max(axis=2, keepdims=True), 1e-6)
    light *= _rolled_off(brightest) / brightest
    shown = np.clip(light @ TO_BT709.T, 0, 1) ** np.float32(1 / GAMMA)
    return np.asarray(shown * 255 + 0.5, np.uint8)


def _light(trc: int) -> npt.NDArray[np.float32]:
    """(CODES,) linear light of each code: PQ's in WHITE_NITS, HLG's of the scene, 0 to 1."""
    code = np.linspace(0, 1, CODES)
    if trc == ColorTrc.SMPTE2084:  # SMPTE ST 2084
        root = code ** (1 / 78.84375)
        base = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
        return (base ** (1 / 0.1593017578125) * 10_000 / WHITE_NITS).astype(np.float32)
    low, high = code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(code <= 0.5, low, high).astype(np.float32)  # ARIB STD-B67


def _rolled_off(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Light as it is up to KNEE, then bent so that the peak is 1 (FFmpeg's tonemap "mobius")."""
    peak = PEAK_NITS / WHITE_NITS
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    bent = (b**2 + 2 * b * KNEE + KNEE**2) / (b - a) * (light + a) / (light + b)
    return np.where(light <= KNEE, light, np.minimum(bent, 1)).astype(np.float32)
