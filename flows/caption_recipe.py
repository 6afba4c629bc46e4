"""The recipe of captions: the defaults, or what HOME/recipes/caption.json changes.

{"endpoint": {"url": "http://localhost:8001/v1", "model": "qwen-vl", "max_clips": 500}}
"""

from captioning.recipe import CaptionRecipe
from infra.recipes import read_recipe
from infra.settings import Settings


def load(settings: Settings) -> CaptionRecipe:
    """The recipe of this home.

    Raises:
        InputError: the file holds no recipe; the message names it, and what is wrong.
    """
    path = settings.home / "recipes" / "caption.json"
    return read_recipe(CaptionRecipe, path) if path.exists() else CaptionRecipe()
