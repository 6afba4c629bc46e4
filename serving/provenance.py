"""What a delivered file says of itself: signed C2PA provenance, and a plain id beside it.

    provenance = Provenance(settings); provenance.seal(job, artifacts)

The plain id is written when a file is encoded (`serving.delivery`); the signature is put in once,
when the file is whole and before anybody can see it. See https://spec.c2pa.org for the manifest;
the trained-media terms are IPTC's.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import c2pa

from infra.catalog_models import Artifact, GenerationJob
from infra.errors import InputError
from infra.settings import Settings
from serving.certificates import SigningIdentity, signing_identity
from serving.origin import read_origin
from serving.plain_id import TERMS, plain_id

GENERATOR = {"name": "Reelwright", "version": "0.1.0"}
GENERATION = "org.reelwright.generation"  # the label of our assertion
SIGNED = (".mp4", ".png", ".webp", ".jpeg", ".jpg")
OPTIONS = {
    # The files are small pictures themselves, and the tests verify what the signer writes.
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False},
}


class Provenance:
    """Signs files. May be used by several threads.

    Raises:
        InputError: the key and certificates cannot sign; the message says why.
    """

    def __init__(self, settings: Settings) -> None:
        self.identity = signing_identity(settings)
        self._media_dir, self._home = settings.media_dir, settings.home
        self._context = _signing_context(self.identity)
        self._facts: dict[str, dict[str, str]] = {}

    def seal(self, job: GenerationJob, artifacts: Iterable[Artifact]) -> None:
        """Sign the files of a job that are about to be published, and note their new hashes.

        Raises:
            c2pa.C2paError: a file cannot be signed; it must not be published then.
        """
        facts = self.facts(job)
        composite = _holds_footage(job)
        for artifact in artifacts:
            path = self._media_dir / artifact.path
            self.sign(path, facts, composite=composite)
            with path.open("rb") as handle:
                artifact.sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            artifact.size_bytes = path.stat().st_size

    def seal_work(
        self, work_id: str, version: str, job_ids: Iterable[str], paths: Iterable[Path]
    ) -> None:
        """Sign files that were put together from the files of several jobs of model `version`.

        Texts and other formats that carry no signature are left as they are.
        """
        facts = {
            "job": work_id,
            "made_from": " ".join(job_ids),
            **self._facts_of(version),
            "certificate": self.identity.kind,
        }
        for path in paths:
            if path.suffix.lower() in SIGNED:
                self.sign(path, facts, composite=True)

    def facts(self, job: GenerationJob) -> dict[str, str]:
        """Our assertion about the files of `job`; it names no user and quotes no prompt."""
        return {
            "job": job.id,
            "parent_job": job.parent_id or "",
            **self._facts_of(job.model_version),
            "certificate": self.identity.kind,
        }

    def sign(self, path: Path, facts: Mapping[str, str], *, composite: bool = False) -> None:
        """Sign an MP4, PNG, WebP or JPEG in place, whole or not at all.

        `composite`: part of what it shows was given to the model by a user.
        """
        temporary = path.with_name(f".{path.stem}.signed{path.suffix}")
        try:
            with c2pa.Builder(manifest(facts, composite=composite), self._context) as builder:
                builder.sign_file(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _facts_of(self, version: str) -> dict[str, str]:
        if version not in self._facts:
            origin = read_origin(self._home, version)
            self._facts[version] = {
                "model_version": version,
                "mlflow_run_id": origin.run_id,
                "release": origin.release,
                "recipe": origin.recipe,
            }
        return self._facts[version]


def _holds_footage(job: GenerationJob) -> bool:
    """Whether a user's own footage is part of the files: a clip or picture that was extended,
    edited or led to, and that no job here made. A first frame alone is none: it is made anew."""
    changed = job.kind not in ("video", "image") or (job.kind == "image" and "input" in job.params)
    return job.parent_id is None and (changed or bool(job.params.get("keyframes")))


def manifest(facts: Mapping[str, str], *, composite: bool) -> dict[str, Any]:
    """The manifest's definition."""
    created = {
        "action": "c2pa.created",
        "digitalSourceType": TERMS["composite" if composite else "generated"],
        "softwareAgent": {"name": "reel-generator", "version": facts.get("model_version", "")},
    }
    return {
        "title": plain_id(facts["job"]),
        "claim_generator_info": [GENERATOR],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": GENERATION, "data": {name: text for name, text in facts.items() if text}},
        ],
    }


def _signing_context(identity: SigningIdentity) -> c2pa.Context:
    try:
        info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
        return c2pa.Context(c2pa.Settings.from_dict(OPTIONS), c2pa.Signer.from_info(info))
    except c2pa.C2paError as error:
        raise InputError(f"the signing certificate cannot be used for C2PA: {error}") from error
