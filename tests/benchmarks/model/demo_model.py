"""The demo's model and its prompts, for figures about what a model makes.

They are those of REEL_HOME (`.reel`, whose demo is in `.reel/demo`): run `make demo` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.demo.judge import judge
from flows.demo.model_figures import SHAPES, spread
from flows.demo.plan import seen_attributes, unseen_attributes
from infra.catalog import Catalog
from infra.errors import NotFoundError
from infra.lake import Lake
from infra.releases import get_release
from infra.settings import Settings
from modeling.bundle import Bundle, load_bundle
from modeling.generate import Generator
from modeling.latents import LatentClip, read_latents
from modeling.recipes import tiny
from modeling.sampler import SamplerRecipe
from modeling.tasks import Frames, Request

PROMPTS = 192
SEEDS_OF_UNSEEN = 4
PLAIN = tiny().dit.sampler  # of the demo, whatever the bundle was made with


@dataclass(frozen=True)
class Prompt:
    """What to ask for, with a seed of its own."""

    text: str
    shape: tuple[int, int]
    seed: int


def home() -> Path:
    """Where the demo's model and lake are.

    Raises:
        NotFoundError: no model was made there.
    """
    folder = Settings().home
    for place in (folder, folder / "demo"):
        if (place / "models").is_dir():
            return place
    raise NotFoundError(f"{folder} holds no demo; make it with: make demo")


def bundle() -> Bundle:
    """The newest model version of the demo, with the sampler of today's recipe."""
    return sampled_by(load_bundle(newest()), PLAIN)


def newest() -> Path:
    """The folder of the newest model version."""
    found = [folder for folder in (home() / "models").iterdir() if folder.name.isdecimal()]
    return max(found, key=lambda folder: int(folder.name))


def latents(model: Bundle) -> list[LatentClip]:
    """The clips that the model was trained on."""
    catalog = Catalog(f"sqlite:///{home() / 'catalog.db'}")
    catalog.migrate()
    release = get_release(catalog, model.manifest["release"])
    lake = Lake(str(home() / "lake"))
    rows = lake.read("clips", ["clip_id", "caption", "split"], release=release.name).to_pylist()
    stored = set(lake.read("latents", ["clip_id"]).column("clip_id").to_pylist())
    known = {row["clip_id"]: row["caption"] for row in rows if row["split"] == "train"}
    return read_latents(
        lake, model.manifest["vae_hash"], {i: words for i, words in known.items() if i in stored}
    )


def prompts(count: int = PROMPTS) -> list[Prompt]:
    """Half of combinations that the films show, half of some that they never show."""
    unseen = [a for a in unseen_attributes() for _ in range(SEEDS_OF_UNSEEN)]
    wanted = [*spread(seen_attributes(), count // 2), *spread(unseen, count - count // 2)]
    return [
        Prompt(attributes.caption(), SHAPES[seed % len(SHAPES)], seed)
        for seed, attributes in enumerate(wanted)
    ]


def sampled_by(model: Bundle, sampler: SamplerRecipe) -> Bundle:
    dit = replace(model.recipe.dit, sampler=sampler)
    return replace(model, recipe=replace(model.recipe, dit=dit))


def videos(model: Bundle, asked: Sequence[Prompt], num_frames: int = 0) -> list[Frames]:
    """One window for each prompt, or so many frames, all side by side."""
    return Generator(model).generate_many(requests(model, asked, num_frames))


def requests(model: Bundle, asked: Sequence[Prompt], num_frames: int = 0) -> list[Request]:
    """Of one window for each prompt, or of so many frames."""
    generator, made = Generator(model), []
    for prompt in asked:
        height, width = generator.native_size(*prompt.shape)
        made.append(
            Request(
                prompt=prompt.text,
                num_frames=num_frames or generator.data.num_frames,
                height=height,
                width=width,
                seed=prompt.seed,
            )
        )
    return made


def right(made: Sequence[Frames], asked: Sequence[Prompt]) -> list[float]:
    """1 for each video that shows all that its prompt says, else 0."""
    return judge(made, [prompt.text for prompt in asked])["accuracy"]
