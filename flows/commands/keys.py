"""API keys of the server: make, list, revoke."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import open_settings

if TYPE_CHECKING:
    from infra.catalog import Catalog

app = typer.Typer(no_args_is_help=True, help="API keys of the server.")


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="whose the videos are that the key makes")],
    name: Annotated[str, typer.Option(help="what the key is for")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, generate, webhooks; default: all three")
    ] = None,
    quota: Annotated[
        float | None, typer.Option(help="device seconds that the tenant may use in a day")
    ] = None,
) -> None:
    """Make a key and print it; it is shown this once."""
    from serving.access import SCOPES, create_key

    scopes = tuple(scope or SCOPES)
    print(create_key(_catalog(), name=name, tenant=tenant, scopes=scopes, quota_device_s=quota))


@app.command("list")
def list_all() -> None:
    """List the keys, without the keys themselves."""
    from serving.access import list_keys

    for key in list_keys(_catalog()):
        quota = "no quota" if key.quota_device_s is None else f"{key.quota_device_s:g} s a day"
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "valid"
        print(f"{key.id:<4} {key.tenant:<16} {key.scopes:<24} {quota:<14} {state}  {key.name}")


@app.command()
def revoke(number: Annotated[int, typer.Argument(help="as reel keys list shows it")]) -> None:
    """Make a key useless, at once."""
    from serving.access import revoke_key

    revoke_key(_catalog(), number)


def _catalog() -> "Catalog":
    from infra.catalog import Catalog

    catalog = Catalog(open_settings().catalog_url)
    catalog.migrate()
    return catalog
