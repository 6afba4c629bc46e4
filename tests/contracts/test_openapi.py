"""Nothing that the OpenAPI offers, spoken well or badly, makes a server error.

The figure `schemathesis_5xx` is the number of server errors, counted by schemathesis and by our
metrics.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts import openapi_contract
from tests.contracts.server import Server, serving
from tests.postgres import postgres


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # PostgreSQL is the stricter database: what it refuses must have been refused before.
    home = tmp_path_factory.mktemp("serving")
    with postgres() as url, serving(home, 0.0, REEL_CATALOG_URL=url) as server:
        yield server


def test_no_request_makes_a_server_error(server: Server, tmp_path: Path) -> None:
    found = openapi_contract.run(server.url, tmp_path)
    assert found.status == 0, found.said
    assert found.server_errors == 0
    operations = found.report["operations"]
    assert operations["tested"] == operations["total"] > 20
    # It is not only refused at the door.
    for path in ("/v1/videos", "/v1/images/generations", "/v1/webhook_endpoints"):
        assert ("POST", path, "200") in found.answers
