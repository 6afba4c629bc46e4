from pathlib import Path

from infra.catalog import Catalog
from infra.lake import Lake
from infra.lineage import Lineage
from infra.tracking import ModelVersion


def version(number: str, release: str, **tags: str) -> ModelVersion:
    return ModelVersion(version=number, run_id="r", tags={"release": release, **tags}, metrics={})


def test_what_goes_on_from_a_model_has_seen_what_that_had(tmp_path: Path) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.migrate()
    newest_first = [
        version("5", "new", parent="3"),
        version("4", "new", parent="/a/bundle", parent_release="old"),
        version("3", "other", parent="2"),
        version("2", "old"),
        version("1", "other"),
    ]
    found = Lineage(Lake(str(tmp_path)), catalog, newest_first).versions_of(["old"])
    catalog.close()
    assert found == {
        "2": {"release": "old"},
        "3": {"release": "other"},
        "4": {"release": "new"},
        "5": {"release": "new"},
    }
