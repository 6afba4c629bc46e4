"""The recipe of captions: which captioners speak, in which order, and what each of them does."""

import hashlib
import json
import re
from dataclasses import dataclass, field

from infra.errors import InputError

HEADS = ("aesthetic", "unsafe")
SOURCES = ("sidecar", "endpoint", "coca", "facts")
PROMPT = (
    "These are frames of one video clip, in order. Describe in one sentence what the clip shows: "
    "who or what is in it, how it moves, where it is, the light, and what the camera does. Name "
    "only what can be seen. Do not mention frames, pictures, or the video itself. Then say how "
    "sure you are that the sentence is right, from 0 to 1."
)


@dataclass(frozen=True, kw_only=True)
class EndpointRecipe:
    """A vision-language model behind an OpenAI-compatible server; without `url` nobody is asked.

    The key is no part of it: it is the setting REEL_CAPTION_KEY.

    Raises:
        InputError: an address without a model, or no address of a server, or a number that allows
            nothing.
    """

    url: str = ""  # up to and with the version: "https://host/v1"
    model: str = ""
    prompt: str = PROMPT
    frames: int = 4  # of each clip, evenly spread
    side: int = 512  # longest side of a frame that is sent, pixels; smaller frames stay as they are
    max_words: int = 60  # of a caption; longer ones end with the last whole sentence

    # What a run may cost. A clip counts once, however often its request was tried again.
    max_clips: int = 1000
    max_tokens: int = 0  # of prompts and answers together, as the server counts; 0: no limit
    answer_tokens: int = 400  # that the server may spend on one answer

    concurrency: int = 8
    timeout_s: float = 60.0  # for one try
    patience_s: float = 300.0  # for one clip, with all tries and waits
    retries: int = 4  # after 408, 409, 429, 5xx, a timeout or a lost connection

    def __post_init__(self) -> None:
        if not self.url:
            return
        if not re.match(r"https?://[^/\s@]+(/\S*)?$", self.url):
            raise InputError(
                f"endpoint.url is {self.url!r}; give an address like https://host/v1, "
                "without a name or password in it"
            )
        if not self.model:
            raise InputError("endpoint.url is set and endpoint.model is not; name the model")
        for name in ("frames", "side", "max_words", "max_clips", "answer_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"endpoint.{name} is {getattr(self, name)}; it has to be 1 or more"
                )

    @property
    def version(self) -> str:
        """The model, and a hash of all that decides its words: not where it runs or what it may
        cost."""
        asked = [self.model, self.prompt, self.frames, self.side, self.max_words]
        return f"{self.model}@{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class CocaRecipe:
    """Settings of CoCa: the pretrained one, or the one that is trained here.

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
    steps: int = 750
    batch: int = 32
    learning_rate: float = 1e-3
    muon_learning_rate: float = 6e-3  # of the matrices inside blocks
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


@dataclass(frozen=True, kw_only=True)
class LikenessRecipe:
    """When two clips show the same. Distances are in levels of 255."""

    version: int = 1
    """Of the code that embeds clips and signs them; raise it when its results change."""
    key_every: int = 4
    """Of so many looked-at frames, one is compared with those of all other clips."""
    key_distance: float = 14.0
    """Root mean square distance of two such frames below which their clips are compared."""
    mean_distance: float = 3.0
    """Mean difference of the colour grids over the time that both clips show."""
    cell_distance: float = 14.0
    """Mean over that time of the grid cell that differs most."""
    min_overlap: float = 0.6
    """Share of the shorter clip that both must show."""
    min_frames: int = 5
    """…and looked-at frames that it must have: a picture alone proves little."""
    min_cosine: float = 0.97
    """Of embeddings, from which clips show the same to a pretrained model. One that was trained
    here on captions sees no more than captions tell, and is not asked."""


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """Weights of learned scores: safetensors files, whose form `captioning.heads` describes. A path
    is absolute or starts from REEL_HOME; without one, clips have no such score."""

    aesthetic: str = ""
    """Its score is `clips.aesthetic_score`: higher is more pleasing, as the head was trained."""
    unsafe: str = ""
    """Its score is `clips.unsafe_score`: higher is less fit to be shown."""


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """Whether text in the picture is read, by the extra `ocr`, and how: `captioning.overlay`.

    Raises:
        InputError: a number that allows nothing.
    """

    read: bool = False
    frames: int = 3  # of each clip, evenly spread
    side: int = 960  # longest side of a frame that is read, pixels; smaller ones stay as they are
    min_confidence: float = 0.5  # of a line that counts
    max_characters: int = 500  # of `clips.text_found`

    def __post_init__(self) -> None:
        for name in ("frames", "side", "max_characters"):
            if getattr(self, name) < 1:
                raise InputError(f"text.{name} is {getattr(self, name)}; it has to be 1 or more")


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe:
    """Who captions, whose weights score, and whether text is read. `prefer`: of the captions that a
    clip has, the one of the first source here is `clips.caption`; a source that is left out does
    not speak. Measured facts are always the last resort.

    Raises:
        InputError: an unknown source, or one named twice.
    """

    prefer: tuple[str, ...] = SOURCES
    endpoint: EndpointRecipe = field(default_factory=EndpointRecipe)
    coca: CocaRecipe = field(default_factory=CocaRecipe)
    heads: HeadRecipe = field(default_factory=HeadRecipe)
    text: TextRecipe = field(default_factory=TextRecipe)

    def __post_init__(self) -> None:
        if not set(self.prefer) <= set(SOURCES) or len(set(self.prefer)) < len(self.prefer):
            raise InputError(
                f"prefer is {', '.join(map(repr, self.prefer)) or 'empty'}; name each of these at "
                f"most once: {', '.join(SOURCES)}"
            )

    @property
    def order(self) -> tuple[str, ...]:
        """`prefer`, with facts at the end if they are not in it."""
        return self.prefer if "facts" in self.prefer else (*self.prefer, "facts")

    @property
    def unanswered(self) -> str:
        """A condition that finds the clips for which the endpoint was not asked with success, among
        those that it should caption; empty when it should caption none."""
        if not self.endpoint.url or "endpoint" not in self.order:
            return ""
        later = self.order[self.order.index("endpoint") + 1 :]
        listed = ", ".join(f"'{source}'" for source in later)
        return f"caption_source in ({listed})" if listed else ""
