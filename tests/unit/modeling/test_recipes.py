import pytest

from infra.errors import InputError
from infra.recipes import from_dict, to_dict
from modeling.recipes import ModelRecipe, tiny
from modeling.sampler import SamplerRecipe


def test_a_recipe_comes_back_from_its_own_json() -> None:
    assert from_dict(ModelRecipe, to_dict(tiny(seed=3))) == tiny(seed=3)


def test_an_unknown_choice_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"solver is 'heun'.*'euler', 'adams'"):
        from_dict(SamplerRecipe, {"solver": "heun"})
