"""The recipe of evaluations: the defaults, or what HOME/recipes/evaluation.json changes.

{"oracle": "studio.judge:judge",
 "extractors": [{"name": "r3d", "path": "modeling.extractors:torchvision_video",
                 "model": "r3d_18", "weights": "/weights/r3d_18.safetensors"}]}
"""

from pathlib import Path

from infra.recipes import read_recipe
from infra.settings import Settings
from modeling.evaluation_recipe import EvaluationRecipe


def load(settings: Settings) -> EvaluationRecipe:
    """The recipe of this home.

    Raises:
        InputError: the file holds no recipe; the message names it, and what is wrong.
    """
    path = path_of(settings)
    return read_recipe(EvaluationRecipe, path) if path.exists() else EvaluationRecipe()


def path_of(settings: Settings) -> Path:
    """The file that changes the defaults; it may be missing."""
    return settings.home / "recipes" / "evaluation.json"
