from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.errors import InfrastructureError, JobCancelledError, NotFoundError
from infra.recipes import fingerprint
from infra.releases import ReleaseInfo
from infra.settings import Settings
from infra.tracking import Tracking


@dataclass(frozen=True, kw_only=True)
class Inner:
    channels: int = 4


@dataclass(frozen=True, kw_only=True)
class Recipe:
    rate: float = 1e-3
    sizes: tuple[int, ...] = (8, 16)
    vae: Inner = field(default_factory=Inner)


RELEASE = ReleaseInfo(
    name="2026-11-22-1",
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
    versions={"clips": 3},
    counts={"clips": 2},
    fingerprints={},
    previous="",
    content_hash="0123456789abcdef",
)


@pytest.fixture(scope="session")
def tracking(settings: Settings, start_service: Callable[[str], None]) -> Iterator[Tracking]:
    start_service("mlflow")
    yield Tracking(settings.mlflow_url)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "dit").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "dit" / "weights.safetensors").write_bytes(b"w" * 5000)
    return folder


def test_a_run_says_what_it_was_made_from(tracking: Tracking, settings: Settings) -> None:
    from mlflow import MlflowClient

    with tracking.run(
        "reel/vae", "vae", recipe=Recipe(), tags={"x": "y"}, release=RELEASE, lake_uri="/lake"
    ) as run:
        run.metrics({"loss": 0.5, "kl": 1.0}, step=1)
        run.metrics({"loss": 0.25}, step=2)
        run.table("evaluation", {"prompt": ["a", "b"], "right": [True, False]})

    client = MlflowClient(settings.mlflow_url)
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"rate": "0.001", "sizes": "[8, 16]", "vae.channels": "4"}
    assert found.data.metrics == {"loss": 0.25, "kl": 1.0}
    assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == [1, 2]
    assert found.data.tags["recipe"] == fingerprint(Recipe())
    assert found.data.tags["release"] == RELEASE.name
    assert found.data.tags["x"] == "y"
    dataset = found.inputs.dataset_inputs[0]
    assert (dataset.dataset.source_type, dataset.dataset.digest) == ("lance", "0123456789abcdef")
    assert dataset.tags[0].value == "training"
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["evaluation.json"]


@pytest.mark.parametrize(
    ("raised", "status"), [(JobCancelledError("stop"), "KILLED"), (ValueError("bug"), "FAILED")]
)
def test_a_run_that_breaks_off_is_closed(
    tracking: Tracking, settings: Settings, raised: Exception, status: str
) -> None:
    from mlflow import MlflowClient

    with (
        pytest.raises(type(raised)),
        tracking.run("reel/eval", "broken", recipe=Recipe(), tags={}) as run,
    ):
        raise raised
    assert MlflowClient(settings.mlflow_url).get_run(run.run_id).info.status == status


def test_bundles_are_versions_with_aliases(
    tracking: Tracking, bundle: Path, tmp_path: Path
) -> None:
    with tracking.run("reel/dit", "dit", recipe=Recipe(), tags={}) as run:
        run.metrics({"accuracy": 0.9})
        first = tracking.register_bundle(bundle, run.run_id, {"recipe": "f00"})
        second = tracking.register_bundle(bundle, run.run_id, {"recipe": "f01"})

    assert [entry.version for entry in tracking.versions()][:2] == [second, first]
    assert tracking.version(first).tags == {"recipe": "f00"}
    assert tracking.version(first).metrics == {"accuracy": 0.9}
    assert tracking.alias("champion") is None
    tracking.set_alias("champion", first)
    tracking.set_alias("champion", second)
    champion = tracking.alias("champion")
    assert champion is not None
    assert champion.version == second
    tracking.delete_alias("champion")
    assert tracking.alias("champion") is None
    tracking.tag(first, "takedown", "old")
    tracking.tag(first, "takedown", "0123456789abcdef")
    assert tracking.version(first).tags["takedown"] == "0123456789abcdef"
    with pytest.raises(NotFoundError, match="no version '99'; versions: "):
        tracking.set_alias("candidate", "99")

    folder = tracking.download(first, tmp_path / "models" / first)
    assert folder == tmp_path / "models" / first
    assert (folder / "dit" / "weights.safetensors").read_bytes() == b"w" * 5000
    assert [entry.name for entry in folder.parent.iterdir()] == [first]
    (folder / "manifest.json").write_text("kept")
    assert tracking.download(first, folder) == folder
    assert (folder / "manifest.json").read_text() == "kept"


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(InfrastructureError, match=r"MLflow does not answer at .*reel up"):
        Tracking("http://127.0.0.1:9").alias("champion")
