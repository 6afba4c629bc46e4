import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.errors import InputError
from infra.settings import Settings


def plan(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", "train", *arguments], catch_exceptions=False)
    return done.stdout


def test_it_says_what_training_takes(own_home: Settings) -> None:
    said = plan("--recipe", "base", "--gpus", "64")
    for words in (
        "recipe base on 64 x h100",
        "transformer 1,016.2 M",
        "1,048,576 tokens: 64 GPUs x 1 batches x 16,384",
        "tokens/s",
        "at 40% of the peak",
        "GPU-hours",
        "checkpoint 12.6 GiB",
    ):
        assert words in said
    rows = [line.split() for line in said.splitlines()]
    assert next(len(row) for row in rows if row[0] == "activations") == 4


def test_programs_get_the_same_and_this_home_s_changes_count(own_home: Settings) -> None:
    changes = own_home.home / "recipes" / "tiny.json"
    changes.parent.mkdir(parents=True)
    changes.write_text('{"dit": {"optimizer": {"steps": 77}}}')
    found = json.loads(plan("--recipe", "tiny", "--gpus", "1", "--gpu", "A100", "--json"))
    assert (found["steps"], found["gpu"], found["obstacle"]) == (77, "a100", "")
    assert set(found["memory_gib"]) == {"none", "selective", "full"}


def test_what_does_not_fit_is_an_error_after_the_figures(
    own_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"does not fit on 1 x l4: .* What would do: "):
        plan("--recipe", "large", "--gpus", "1", "--gpu", "l4")
