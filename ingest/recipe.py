"""The science of ingest: every threshold that decides what a shot, a clip or a duplicate is."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ClassicalRecipe:
    """PySceneDetect's own defaults, for those of its detectors that a `ShotRecipe` names."""

    adaptive_ratio: float = 3.0
    adaptive_min_content: float = 15.0
    content: float = 27.0
    hash: float = 0.35
    histogram: float = 0.2
    threshold: float = 12.0
    min_shot_frames: int = 15


@dataclass(frozen=True, kw_only=True)
class ShotRecipe:
    """How shot boundaries are found. What is named `min` or a share is the least for a boundary."""

    detectors: tuple[str, ...] = ("cut", "dissolve", "fade")
    """Which look: cut, dissolve, fade; transnet; PySceneDetect's adaptive, content, hash,
    histogram, threshold."""
    cascade: bool = False
    """Whether TransNetV2 looks at what the detectors are unsure of."""
    unsure_from: float = 0.55
    """Times its thresholds from which a candidate is worth the network's look…"""
    sure_from: float = 1.0
    """…and from which it needs none. What passes is nearly always right, also where the network,
    which knows films and not games, would say no: it is asked for what just misses."""
    network_frames: int = 48
    """Frames that the network sees of a candidate."""

    cut_ratio: float = 3.0
    """A cut's frame score over the mean of its neighbours' (PySceneDetect's adaptive threshold)."""
    cut_min_score: float = 4.0
    """The least frame score of a cut, in levels of 255."""
    cut_min_peak: float = 30.0
    """The least mean level change, at a cut, of the 12x9 grid cell that changes most."""
    cut_lasting: float = 0.4
    """The least share of a cut's change that is still there four frames before and after it."""
    cut_staying: float = 0.55
    """The same for up to fifteen frames: a flash goes back to what was before."""
    cut_redrawn: float = 1.6
    """The least share of the picture's edges that a cut draws anew over the share that it keeps."""
    cut_newness: float = 0.4
    """The least of what movement and a tint cannot explain at a cut, in contrasts of the picture,
    over the edges' correlation."""
    ramp_min: float = 0.7
    """Mean level change in nine frames, over pixels that change evenly, that may be a dissolve."""
    ramp_share_min: float = 0.15
    """Share of all change that those pixels must hold."""
    ramp_contrast: float = 3.5
    """How much stronger than its surroundings a dissolve's ramp must be."""
    novelty_min: float = 0.8
    """Mean levels by which either end of a dissolve holds what the other cannot show by moving."""
    novelty_max_min: float = 2.5
    """The same for the end that holds more."""
    fade_depth: float = 0.7
    """The least share of the brightness (or darkness) on both of its sides that a fade takes."""
    fade_min_drop: float = 8.0
    """…and by at least so many levels."""
    gradual_staying: float = 0.5
    """The least share of a dissolve's change that is there some frames before and after it, too."""
    fade_change: float = 0.08
    """The least change over a fade, as a share of the change to its middle: a flash has none."""
    transition_max_s: float = 2.5
    classical: ClassicalRecipe = field(default_factory=ClassicalRecipe)


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """Which spans of a shot become clips."""

    min_duration_s: float = 1.0
    max_duration_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class ExtractionRecipe:
    """How a clip's bytes are made: part of its id, so bytes never change under an id."""

    version: int = 1
    crf: int = 16
    """Quality (x264) of the clips whose packets cannot be copied."""
    max_lead_s: float = 30.0
    """A clip whose keyframe lies further before it is encoded again, not copied."""


@dataclass(frozen=True, kw_only=True)
class DuplicateRecipe:
    """When two films are the same film."""

    duration_tolerance: float = 0.03
    mean_distance: float = 6.0
    """Mean difference of the films' sampled colour grids, in levels of 255."""
    cell_distance: float = 40.0
    """Mean over the samples of the grid cell that differs most."""
    color_distance: float = 24.0
    """Difference of the films' mean colours, in levels, beyond which nothing else is compared."""
    max_crop: float = 0.12
    """Share of either side that a cropped copy may lack."""
    logo_cells: int = 3
    """Cells of 6x8 that may differ all the time: a logo, a clock, a counter."""


@dataclass(frozen=True, kw_only=True)
class ScoreRecipe:
    """What counts as static, black, clipped or a bar. Levels are of 255, on small frames: what is
    less than a pixel there does not count."""

    static_cell: float = 2.0
    """Levels by which no cell of the 12x9 grid may differ from a static stretch's first frame…"""
    static_mean: float = 1.0
    """…and the most that all pixels may differ on the mean."""
    static_min_s: float = 0.5
    """A shorter stretch is no stretch: films hold frames twice."""
    black_level: int = 25
    """The most that a black pixel has, and…"""
    black_share: float = 0.98
    """…the least share of them in a black frame (FFmpeg's blackdetect)."""
    crushed_level: int = 4
    """Pixels up to here have lost what was in the shadows…"""
    blown_level: int = 250
    """…and from here what was in the lights."""
    bar_level: int = 10
    """The most that a pixel of a black bar has (FFmpeg's cropdetect)."""
    bar_edge: float = 0.6
    """The least share of a line beside a bar that is lit at some moment."""


@dataclass(frozen=True, kw_only=True)
class IngestRecipe:
    """Everything that decides what footage turns into."""

    shots: ShotRecipe = field(default_factory=ShotRecipe)
    clips: ClipRecipe = field(default_factory=ClipRecipe)
    extraction: ExtractionRecipe = field(default_factory=ExtractionRecipe)
    duplicates: DuplicateRecipe = field(default_factory=DuplicateRecipe)
    scores: ScoreRecipe = field(default_factory=ScoreRecipe)
    max_damage: float = 0.01
    """Share of damaged frames above which a film is quarantined."""
    max_missing: float = 0.1
    """Share of its declared duration that a film may lack."""
