"""What clients of others meet: the openai client in two majors, and every operation fuzzed.

The same runs as the tests of `tests/contracts`, counted instead of asserted.
"""

import tempfile
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.contracts import openai_contract, openapi_contract
from tests.contracts.server import serving
from tests.postgres import postgres


def openai_contract_failed() -> dict[str, Figure]:
    """Cases that fail, over both majors of the client."""
    results: dict[str, str] = {}
    for major in openai_contract.MAJORS:
        with tempfile.TemporaryDirectory() as folder:
            found = openai_contract.run(major, Path(folder))
        results |= {f"{major}: {case}": said for case, said in found.items()}
    failed = [case for case, said in results.items() if said]
    note = ", ".join(failed) or f"majors {', '.join(map(str, openai_contract.MAJORS))} of openai"
    return {"openai_contract_failed": _none(len(failed), len(results), note)}


def schemathesis_5xx() -> dict[str, Figure]:
    """Server errors, to requests made from the OpenAPI, on PostgreSQL."""
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres() as url,
        serving(Path(folder), 0.0, REEL_CATALOG_URL=url) as server,
    ):
        found = openapi_contract.run(server.url, Path(folder))
    operations, asked = found.report["operations"], sum(found.answers.values())
    note = f"requests to {operations['tested']} of {operations['total']} operations"
    return {"schemathesis_5xx": _none(found.server_errors, asked, note)}


def _none(value: int, n: int, note: str) -> Figure:
    return Figure(value=value, target=0, better="lower", n=n, note=note)
