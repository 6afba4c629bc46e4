"""Films in a lake and models in a registry, for the tests of lineage and takedown."""

from dataclasses import replace
from typing import Any

import numpy as np

from infra.errors import InfrastructureError
from infra.lake import Lake
from infra.tracking import ModelVersion

MARK = b"nobody may see this again"
SIZES = (9_000, 200_000, 3_000_000)  # stored inline, packed, and on its own
BAD, GOOD, COPY = "b" * 64, "a" * 64, "c" * 64


class Registry:
    """Model versions in memory."""

    def __init__(self) -> None:
        self.known: dict[str, ModelVersion] = {}
        self.champion = ""
        self.answers = True

    def add(self, release: str) -> None:
        number = str(len(self.known) + 1)
        tags = {"release": release, "recipe": "tiny"}
        self.known[number] = ModelVersion(version=number, run_id="run", tags=tags, metrics={})

    def versions(self) -> list[ModelVersion]:
        if not self.answers:
            raise InfrastructureError("no MLflow server answers; start it with: reel up")
        return list(reversed(self.known.values()))

    def version(self, version: str) -> ModelVersion:
        return self.known[version]

    def alias(self, alias: str) -> ModelVersion | None:
        return self.known.get(self.champion) if alias == "champion" else None

    def tag(self, version: str, name: str, value: str) -> None:
        old = self.known[version]
        self.known[version] = replace(old, tags={**old.tags, name: value})


def random_bytes(seed: int, size: int, marked: bool) -> bytes:
    data = bytearray(np.random.default_rng(seed).bytes(size))
    if marked:
        data[size // 2 : size // 2 + len(MARK)] = MARK
    return bytes(data)


def clip_id_of(source_id: str, number: int) -> str:
    return f"{number:08x}{source_id[:24]}"


def add_film(lake: Lake, source_id: str, uri: str, **more: Any) -> None:
    """A film of three clips with bytes and latents."""
    marked = source_id == BAD
    ids = [clip_id_of(source_id, number) for number in range(3)]
    span = {"start_frame": 0, "end_frame": 48, "start_s": 0.0, "end_s": 2.0}
    lake.write_clip_bytes(
        {
            clip_id: random_bytes(number, size, marked)
            for number, (clip_id, size) in enumerate(zip(ids, SIZES, strict=True))
        }
    )
    lake.append(
        "latents",
        [{"clip_id": i, "vae_hash": "v", "latent": random_bytes(9, 5_000, marked)} for i in ids],
    )
    told = f"by {MARK.decode() if marked else 'nobody'}"
    lake.upsert(
        "captions",
        [
            {"clip_id": i, "source": source, "version": version, "caption": f"{source} {told}",
             "score": 0.5}
            for i in ids
            for source, version in (("coca", "c1"), ("coca", "c0"), ("facts", "1"))
        ],
    )  # fmt: skip
    lake.upsert(
        "clips",
        [
            {"clip_id": i, "source_id": source_id, "status": "accepted", "split": "train",
             "caption": f"coca {told}", "caption_source": "coca", "caption_version": "c1",
             "recipe": "r", **span}
            for i in ids
        ],
    )  # fmt: skip
    lake.upsert(
        "sources",
        [{"uri": uri, "source_id": source_id, "status": "accepted", "duplicate_of": None,
          "recipe": "r", **more}],
    )  # fmt: skip
