"""Registers every flow as a deployment on the local work pool: `python -m flows.deployments`."""

import sys
import time

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from flows.services import WORK_POOL

API_TIMEOUT_S = 120.0


def main() -> int:
    """Wait for the API, then create the pool and the deployments; safe to run again."""
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + API_TIMEOUT_S
        while (failure := client.api_healthcheck()) is not None:
            if time.monotonic() > deadline:
                raise failure
            time.sleep(0.25)
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
        except ObjectAlreadyExists:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
