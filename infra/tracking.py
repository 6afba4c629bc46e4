"""MLflow: one run a training or evaluation, one registered model whose versions are bundles.

    tracking = Tracking(settings.mlflow_url)
    with tracking.run("reel/vae", "vae on 2026-11-22-1", recipe=recipe, tags={}) as run:
        run.metrics({"loss": 0.3}, step=10)
    version = tracking.register_bundle(folder, run.run_id, {"recipe": "…"})
    tracking.set_alias("candidate", version)

Experiments are `reel/vae`, `reel/captioner`, `reel/dit`, `reel/eval`. A bundle is a folder of
safetensors and a manifest; nothing here pickles. MLflow is imported when first used (5 s).
"""

import json
import shutil
import subprocess
import time
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from infra.errors import InfrastructureError, JobCancelledError, NotFoundError
from infra.recipes import fingerprint, to_dict

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from infra.releases import ReleaseInfo

MODEL = "reel-generator"
BUNDLE = "bundle"
HEALTH_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A version of `reel-generator`; `metrics` are those of the run that registered it."""

    version: str
    run_id: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Run:
    """An open MLflow run."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at `step`, in one request."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        batch = [Metric(name, float(value), now_ms, step) for name, value in values.items()]
        self._client.log_batch(self.run_id, metrics=batch)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, in one request."""
        from mlflow.entities import Param

        batch = [Param(name, str(value)) for name, value in values.items()]
        self._client.log_batch(self.run_id, params=batch)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Upload a file, or a folder with all in it, into `folder` of the run's artifacts."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder or None)
        else:
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Log a table (columns of equal length) that MLflow shows and compares between runs."""
        data = {column: list(values) for column, values in columns.items()}
        with warnings.catch_warnings():
            # MLflow's own use of pandas warns about pandas 4, once a table.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._client.log_table(self.run_id, data, f"{name}.json")


class Tracking:
    """The MLflow server at `url`.

    Raises:
        InfrastructureError: the server does not answer; the message says how to start it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connected: MlflowClient | None = None

    @contextmanager
    def run(
        self,
        experiment: str,
        name: str,
        *,
        recipe: Any,
        tags: Mapping[str, str],
        release: "ReleaseInfo | None" = None,
        lake_uri: str = "",
    ) -> Iterator[Run]:
        """An open run with the recipe, the git revision and the release already logged.

        It ends as FINISHED, as KILLED when the job was asked to stop, as FAILED otherwise.
        """
        client = self._client()
        names = {"recipe": fingerprint(recipe), **_git_revision(), **tags}
        if release is not None:
            names |= {"release": release.name, "lance.uri": lake_uri}
        created = client.create_run(_experiment_id(client, experiment), run_name=name, tags=names)
        run = Run(client, created.info.run_id)
        status = "FAILED"
        try:
            run.params(_flat(to_dict(recipe)))
            if release is not None:
                client.log_inputs(run.run_id, [_dataset(release, lake_uri)])
            yield run
            status = "FINISHED"
        except (JobCancelledError, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            client.set_terminated(run.run_id, status)

    def register_bundle(self, bundle: Path, run_id: str, tags: Mapping[str, str]) -> str:
        """Upload the folder as the run's artifact `bundle` and register it; the new version."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        client.log_artifacts(run_id, str(bundle), BUNDLE)
        try:
            client.create_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(run_id).info.artifact_uri}/{BUNDLE}"
        created = client.create_model_version(MODEL, source, run_id=run_id, tags=dict(tags))
        return str(created.version)

    def set_alias(self, alias: str, version: str) -> None:
        """Point `alias` (candidate, champion, previous) at a version that exists."""
        self.version(version)
        self._client().set_registered_model_alias(MODEL, alias, version)

    def delete_alias(self, alias: str) -> None:
        """Remove `alias`; it may be missing."""
        if self.alias(alias) is not None:
            self._client().delete_registered_model_alias(MODEL, alias)

    def alias(self, alias: str) -> ModelVersion | None:
        """The version that `alias` points at, or None."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            found = client.get_model_version_by_alias(MODEL, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        return _model_version(client, found)

    def version(self, version: str) -> ModelVersion:
        """Version `version` of the model.

        Raises:
            NotFoundError: no such version; the message names those that exist.
        """
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            return _model_version(client, client.get_model_version(MODEL, version))
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            known = ", ".join(found.version for found in self.versions()) or "none yet"
            raise NotFoundError(
                f"{MODEL} has no version {version!r}; versions: {known}. Make one with: reel train"
            ) from error

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        client = self._client()
        found = [
            _model_version(client, entry)
            for entry in client.search_model_versions(f"name = '{MODEL}'")
        ]
        return sorted(found, key=lambda entry: int(entry.version), reverse=True)

    def tag(self, version: str, name: str, value: str) -> None:
        """Put a tag on `version`, in place of an older one of this name."""
        self._client().set_model_version_tag(MODEL, version, name, value)

    def download(self, version: str, to: Path) -> Path:
        """Fetch the bundle of `version` so that `to` is its folder; one already there is kept."""
        if to.exists():
            return to
        run_id = self.version(version).run_id
        to.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as folder:
            fetched = self._client().download_artifacts(run_id, BUNDLE, folder)
            Path(fetched).rename(to)
        return to

    def _client(self) -> "MlflowClient":
        # MLflow itself would retry for minutes before it says that nobody is there.
        _require_server(self.url)
        if self._connected is None:
            from mlflow import MlflowClient

            self._connected = MlflowClient(tracking_uri=self.url, registry_uri=self.url)
        return self._connected


def _require_server(url: str) -> None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=HEALTH_TIMEOUT_S):
            return
    except OSError as error:
        raise InfrastructureError(
            f"MLflow does not answer at {url} ({error}); start it with: reel up"
        ) from error


def _experiment_id(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return client.create_experiment(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return _experiment_id(client, name)  # another job was faster


def _dataset(release: "ReleaseInfo", lake_uri: str) -> Any:
    """The release as an MLflow dataset, in the context "training"."""
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    from infra.lance_source import LanceSource

    source = LanceSource(lake_uri, release.name, dict(release.versions))
    dataset = MetaDataset(  # type: ignore[abstract]
        source, name=release.name, digest=release.content_hash
    )
    return DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])


def _model_version(client: "MlflowClient", found: Any) -> ModelVersion:
    return ModelVersion(
        version=str(found.version),
        run_id=found.run_id,
        tags=dict(found.tags),
        metrics=dict(client.get_run(found.run_id).data.metrics),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested recipes as dotted names: {"vae": {"channels": 4}} gives {"vae.channels": "4"}."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _git_revision() -> dict[str, str]:
    """The revision of this checkout as a tag; nothing when it is not a checkout."""
    git = shutil.which("git")
    if git is None:
        return {}
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"git.sha": done.stdout.strip()} if done.returncode == 0 else {}
