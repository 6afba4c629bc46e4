"""A release of the lake as an MLflow dataset source, so that a run names the data it saw.

MLflow finds the class through the entry point `mlflow.dataset_source`; the methods are the ones
its `DatasetSource` asks for.
"""

from typing import Any

from mlflow.data.dataset_source import DatasetSource


class LanceSource(DatasetSource):
    """`uri` of the lake, `release` (the tag), and `versions` by table."""

    def __init__(self, uri: str, release: str, versions: dict[str, int]) -> None:
        self.uri = uri
        self.release = release
        self.versions = versions

    @staticmethod
    def _get_source_type() -> str:
        return "lance"

    def load(self) -> Any:
        """The clips of the release as a pyarrow table."""
        from infra.lake import Lake

        return Lake(self.uri).read("clips", release=self.release)

    @staticmethod
    def _can_resolve(_raw_source: Any) -> bool:
        return False  # a bare string does not say which release is meant

    @classmethod
    def _resolve(cls, raw_source: Any) -> "LanceSource":
        raise NotImplementedError(f"build a LanceSource instead of resolving {raw_source!r}")

    def to_dict(self) -> dict[str, Any]:
        return {"uri": self.uri, "release": self.release, "versions": self.versions}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "LanceSource":
        return cls(**source_dict)
