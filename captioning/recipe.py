"""The captioner's recipe: everything that decides which caption a clip gets."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe:
    """Settings of the captioner; its fingerprint is `clips.caption_recipe`.

    With `pretrained_model` set, that open_clip CoCa captions and nothing is trained: a model name
    (with a tag or checkpoint in `pretrained_weights`), or a folder that open_clip saved.
    """

    pretrained_model: str = ""
    pretrained_weights: str = ""
    min_labelled: int = 48  # fewer clips with sidecar captions: measured facts instead
    retrain_growth: float = 0.2  # retrain when this share of the labelled clips is new or changed

    # The picture that stands for a clip: grid² frames, each `cell` pixels square.
    grid: int = 2
    cell: int = 48
    frame_rate: float = 10.0  # frames a second that are looked at
    frame_stride: int = 2  # between neighbours in the grid, in looked-at frames
    max_frames: int = 64  # looked at; of a longer clip, its middle
    views: int = 3  # windows of a clip whose word probabilities are averaged

    # The model (open_clip CoCa).
    patch: int = 8  # pixels of a frame along one edge of a token
    width: int = 128
    head_width: int = 32
    vision_layers: int = 3
    text_layers: int = 1
    decoder_layers: int = 1
    max_words: int = 40  # of a caption; the rest is cut

    # Training.
    steps: int = 1800
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    contrastive_weight: float = 0.0
    shift: float = 0.3  # largest shift, as a share of the frame
    zoom: float = 0.15
    brightness: float = 0.2
    noise: float = 0.04
    heldout: float = 0.1  # share of the labelled clips kept aside to measure on
    check_every: int = 100  # steps
    seed: int = 0
