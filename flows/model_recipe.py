"""The recipe of a model: the named one, and what HOME/recipes/NAME.json changes of it.

{"dit": {"optimizer": {"steps": 4000}, "text": {"encoder": "hugging_face", "source": "/models/t5"}}}
"""

from typing import TYPE_CHECKING

from infra.recipes import change_recipe
from infra.settings import Settings

if TYPE_CHECKING:
    from modeling.recipes import ModelRecipe


def load(
    settings: Settings,
    name: str,
    *,
    seed: int = 0,
    start_from: str = "",
    lora_rank: int = 0,
    workers: int = 1,
) -> "ModelRecipe":
    """The recipe called `name` as this home has it, for so many workers; for fine-tuning when it
    starts from a model.

    Raises:
        NotFoundError: no such recipe. InputError: the file cannot be used, or there are adapters
            and no model to adapt.
    """
    # torch comes with it, which takes seconds
    from modeling.sizes import by_name, fine_tuned, for_workers

    recipe, path = by_name(name, seed=seed), settings.home / "recipes" / f"{name}.json"
    if path.exists():
        recipe = change_recipe(recipe, path)
    rank = lora_rank or recipe.dit.lora.rank
    return for_workers(fine_tuned(recipe, start_from or recipe.start_from, rank), workers)
