"""What a file from anywhere says of its making, and how far that is to be believed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import c2pa

from serving.plain_id import read_plain_id
from serving.provenance import GENERATION

MAX_CLAIM = 20_000  # characters; a work names all jobs that it was made from
READING: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """`signature`: here | elsewhere | changed | none.

    here: whole, signed with a certificate of this home. elsewhere: whole, signed by others.
    changed: the file or its manifest is not what was signed; `problems` are C2PA's codes. none:
    unsigned, or the signature was removed. `claims` is our assertion, wherever in the file's
    history it stands; `plain_id` the job in the plain metadata; `edited_by` who signed after us.
    """

    signature: str
    problems: list[str] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)
    signer: str = ""
    edited_by: str = ""
    plain_id: str | None = None

    @property
    def job_id(self) -> str | None:
        return self.claims.get("job") or self.plain_id


def inspect(path: Path, anchors: bytes) -> Inspection:
    """Read the provenance of a file; `anchors` are PEM certificates to believe.

    Raises:
        OSError: the file cannot be read.
    """
    plain = read_plain_id(path)
    settings = dict(READING)
    if anchors:
        settings["trust"] = {"user_anchors": anchors.decode()}
    try:
        with c2pa.Reader(path, context=c2pa.Context(c2pa.Settings.from_dict(settings))) as reader:
            store: dict[str, Any] = json.loads(reader.json())
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return Inspection(signature="none", plain_id=plain)
    except c2pa.C2paError as error:
        return Inspection(signature="changed", problems=[str(error)[:200]], plain_id=plain)
    return _judged(store, plain)


def _judged(store: dict[str, Any], plain: str | None) -> Inspection:
    active = store["manifests"][store["active_manifest"]]
    ours = next((m for m in (active, *store["manifests"].values()) if _claims(m)), active)
    problems = sorted({entry["code"] for entry in store.get("validation_status", [])})
    believed = {"Trusted": "here", "Valid": "elsewhere"}
    signer = active.get("signature_info", {}).get("common_name", "")
    return Inspection(
        signature=believed.get(store.get("validation_state", ""), "changed"),
        problems=[code for code in problems if code != "signingCredential.untrusted"],
        claims=_claims(ours),
        signer=ours.get("signature_info", {}).get("common_name", ""),
        edited_by="" if ours is active else signer,
        plain_id=plain,
    )


def _claims(manifest: dict[str, Any]) -> dict[str, str]:
    for assertion in manifest.get("assertions", []):
        data = assertion.get("data")
        if assertion.get("label") == GENERATION and isinstance(data, dict):
            return {str(name): str(text)[:MAX_CLAIM] for name, text in data.items()}
    return {}
