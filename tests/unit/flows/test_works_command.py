"""Plans as files: what `reel storyboard` and its like send to the server."""

import base64
from pathlib import Path

import pytest

from flows.commands.works import read_plan_file
from infra.errors import InputError
from tests.unit.serving.calls import png


def test_files_that_a_plan_names_travel_with_it(tmp_path: Path) -> None:
    (tmp_path / "mara.png").write_bytes(png())
    (tmp_path / "a.fountain").write_text("INT. A\n\nShe waits.\n")
    (tmp_path / "plan.yaml").write_text(
        "title: A\nscript: a.fountain\nassets: {mara: mara.png}\nmade: 2026-01-01\n"
    )
    found = read_plan_file(tmp_path / "plan.yaml")
    assert found["script"] == "INT. A\n\nShe waits.\n" and found["made"] == "2026-01-01"
    head, _, data = found["assets"]["mara"].partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(data) == png()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "holds a list"),
        ("{", "neither YAML nor JSON"),
        ("title: A\nassets: {a: none.png}\n", "cannot read .*none.png"),
        ("title: A\nassets: {a: /etc/passwd}\n", "'/etc/passwd'"),
        ("title: A\nscript: none.fountain\n", "cannot read .*none.fountain"),
    ],
)
def test_a_plan_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        read_plan_file(tmp_path / "plan.yaml")


def test_a_plan_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the plan"):
        read_plan_file(tmp_path / "plan.yaml")
