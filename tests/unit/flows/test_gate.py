import math

import pytest

from flows.gate import Check, GateRecipe, Measured, Threshold, judge, require
from infra.errors import GateError
from infra.recipes import from_dict, to_dict

RECIPE = GateRecipe(
    thresholds=(
        Threshold(metric="psnr_db", minimum=25.0),
        Threshold(metric="loss", maximum=1.0, same=("vae_hash",)),
    ),
    tolerance=0.1,
)


def _model(
    psnr_db: float = 30.0, loss: float = 0.5, vae: str = "a", version: str = "2"
) -> Measured:
    metrics = {"psnr_db": psnr_db, "loss": loss}
    return Measured(version=version, metrics=metrics, tags={"vae_hash": vae})


def _failures(checks: list[Check]) -> list[str]:
    return [check.metric for check in checks if check.failure]


def test_good_first_model_passes() -> None:
    checks = judge(_model(), None, RECIPE)
    assert _failures(checks) == []
    require(checks)


@pytest.mark.parametrize(("psnr_db", "fails"), [(25.0, False), (24.99, True), (math.nan, True)])
def test_minimum(psnr_db: float, fails: bool) -> None:
    assert bool(_failures(judge(_model(psnr_db=psnr_db), None, RECIPE))) is fails


@pytest.mark.parametrize(("loss", "fails"), [(1.0, False), (1.01, True), (math.nan, True)])
def test_maximum(loss: float, fails: bool) -> None:
    assert bool(_failures(judge(_model(loss=loss), None, RECIPE))) is fails


def test_number_that_was_not_measured_fails() -> None:
    candidate = Measured(version="2", metrics={"psnr_db": 30.0}, tags={})
    assert _failures(judge(candidate, None, RECIPE)) == ["loss"]


def test_step_back_behind_the_champion_fails_in_both_directions() -> None:
    champion = _model(psnr_db=40.0, loss=0.5)
    assert _failures(judge(_model(psnr_db=35.9, loss=0.5), champion, RECIPE)) == ["psnr_db"]
    assert _failures(judge(_model(psnr_db=40.0, loss=0.56), champion, RECIPE)) == ["loss"]
    assert _failures(judge(_model(psnr_db=36.1, loss=0.54), champion, RECIPE)) == []


def test_tolerance_also_holds_for_negative_numbers() -> None:
    recipe = GateRecipe(thresholds=(Threshold(metric="loss", maximum=1.0),), tolerance=0.1)
    assert _failures(judge(_model(loss=-4.0), _model(loss=-5.0), recipe)) == ["loss"]
    assert _failures(judge(_model(loss=-4.6), _model(loss=-5.0), recipe)) == []


def test_numbers_of_another_vae_are_not_compared() -> None:
    checks = judge(_model(loss=0.9, vae="a"), _model(loss=0.1, vae="b"), RECIPE)
    assert _failures(checks) == []
    assert checks[1].note == "champion measured with another vae_hash"


def test_error_names_every_failed_number_with_value_and_bound() -> None:
    with pytest.raises(GateError) as caught:
        require(judge(_model(psnr_db=20.0, loss=2.0), None, RECIPE))
    for part in ("psnr_db is 20", "≥ 25", "loss is 2", "≤ 1"):
        assert part in str(caught.value)


def test_recipe_survives_json() -> None:
    assert from_dict(GateRecipe, to_dict(RECIPE)) == RECIPE


def test_a_first_model_of_little_footage_passes_and_one_that_learned_nothing_does_not() -> None:
    """Real figures of 91 clips of cameras and games: learned by heart, and fit to be served."""
    found = {
        "vae_psnr_db": 21.37,
        "heldout_loss": 4.946,
        "training_clips_loss": 0.169,
        "image_to_video_psnr_db": 80.0,
    }

    def failures(**changed: float) -> list[str]:
        measured = Measured(version="1", metrics=found | changed, tags={})
        return _failures(judge(measured, None, GateRecipe()))

    assert failures() == []
    assert failures(training_clips_loss=2.0) == ["training_clips_loss"]
    assert failures(heldout_loss=math.inf) == ["heldout_loss"]
    assert failures(heldout_loss=math.nan) == ["heldout_loss"]


def _with(tags: dict[str, str] | None = None, **metrics: float) -> Measured:
    found = {
        "vae_psnr_db": 25.0,
        "heldout_loss": 0.2,
        "training_clips_loss": 0.2,
        "image_to_video_psnr_db": 80.0,
    }
    return Measured(version="1", metrics=found | metrics, tags=tags or {})


def test_an_oracle_counts_where_there_is_one() -> None:
    judged = _with(oracle_accuracy=0.9, oracle_gain=0.8)
    deaf = _with(oracle_accuracy=0.9, oracle_gain=0.02)
    worse = _with(oracle_accuracy=0.7, oracle_gain=0.6)
    assert _failures(judge(_with(), None, GateRecipe())) == []
    assert _failures(judge(judged, None, GateRecipe())) == []
    assert _failures(judge(deaf, None, GateRecipe())) == ["oracle_gain"]
    assert _failures(judge(worse, judged, GateRecipe())) == ["oracle_accuracy"]
    # Two videos fewer of 48 are chance.
    near = _with(oracle_accuracy=0.86, oracle_gain=0.7)
    assert _failures(judge(near, judged, GateRecipe())) == []
    # Who leaves the oracle out does not get past a champion that had to face it.
    unjudged = _failures(judge(_with(), judged, GateRecipe()))
    assert unjudged == ["oracle_accuracy", "oracle_gain"]


def test_a_few_step_student_is_held_to_its_teacher_and_not_to_losses() -> None:
    metrics = {"vae_psnr_db": 25.0, "image_to_video_psnr_db": 80.0}
    student = {"teacher": "3"}

    def failures(loss: float, champion: Measured | None = None) -> list[str]:
        found = metrics | {"few_step_accuracy_loss": loss}
        mine = Measured(version="4", metrics=found, tags=student)
        return _failures(judge(mine, champion, GateRecipe()))

    better = Measured(version="2", metrics=metrics | {"few_step_accuracy_loss": 0.0}, tags=student)
    assert failures(0.04) == [] and failures(0.04, _with()) == []
    assert failures(0.04, better) == []
    assert failures(0.06) == failures(math.nan) == ["few_step_accuracy_loss"]
    assert _failures(judge(_with(), better, GateRecipe())) == []
