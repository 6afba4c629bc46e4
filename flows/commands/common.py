"""What every command stands on."""

from typing import TYPE_CHECKING

from infra.errors import InputError

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.settings import Settings


def open_settings(*, computes: bool = False) -> "Settings":
    """The settings, also put where Prefect and MLflow look for theirs when they are imported.

    With `computes` the process may begin again, see `Settings.enter_allocator`: call it first.

    Raises:
        InputError: a REEL_ variable holds a wrong value.
    """
    import os

    from pydantic import ValidationError

    from infra.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = "REEL_" + "_".join(map(str, first["loc"])).upper()
        raise InputError(f"{variable}={first['input']!r}: {first['msg']}") from None
    if computes:
        settings.enter_allocator()
    os.environ.update(settings.process_env())
    return settings


def open_lake() -> "Lake":
    """The lake, with all of its tables."""
    from infra.lake import Lake

    lake = Lake(open_settings().lake_uri)
    lake.ensure()
    return lake
