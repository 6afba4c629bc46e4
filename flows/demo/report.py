"""The demo's report: `report.json` for programs, `report.html` for people, and a picture of it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from flows.demo import page
from flows.demo.figures import Figure, as_json
from flows.demo.findings import Findings
from flows.demo.history import DoneJob
from flows.demo.places import Places
from flows.demo.showcase import showcase
from infra.job_files import write_json

STEPS_OF = {
    "refresh-data": ("ingest", "caption"),
    "train-model": ("vae", "latents", "dit", "evaluate"),
}
LABELS = {
    "set-up": "films and services",
    "refresh-data": "refresh the data",
    "train-model": "train the model",
    "promote-model": "the gate",
    "deploy-model": "deploy",
    "videos": "make these videos",
    "figures": "measure",
    "stop": "stop the services",
    "ingest": "find shots, cut clips",
    "caption": "captions",
    "vae": "VAE",
    "latents": "latents",
    "dit": "diffusion transformer",
    "evaluate": "evaluation",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the demo knows at its end."""

    places: Places
    wall_s: Mapping[str, float]
    refreshed: Mapping[str, Any]  # result of the flow refresh-data
    jobs: Mapping[str, DoneJob]
    findings: Findings
    figures: Mapping[str, Figure]
    started: datetime

    def write(self) -> None:
        """Draw the picture, then write both files; each appears whole."""
        from flows.clip_pages import kept_sheet
        from infra.catalog import Catalog
        from infra.lake import Lake
        from infra.releases import get_release

        settings, outputs = self.places.settings, self.places.outputs
        showcase(self.findings.takes).save(outputs / "showcase.png")
        release = get_release(Catalog(settings.catalog_url), self.refreshed["release"])
        sheet = kept_sheet(Lake(settings.lake_uri), release)
        sheet.save(outputs / "footage.png")
        write_json(self.places.folder / "report.json", self.as_json())
        path = self.places.folder / "report.html"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(page.html(self.page(), self.places.folder), encoding="utf-8")
        temporary.replace(path)

    def as_json(self) -> dict[str, Any]:
        """The contents of `report.json`."""
        takes = {take.name: str(take.path) for take in self.findings.takes}
        outputs = self.places.outputs
        return {
            "figures": as_json(self.figures),
            "wall_s": dict(self.wall_s),
            "steps_s": {step: job.wall_s for step, job in self.jobs.items()},
            "outputs": takes
            | {"showcase": str(outputs / "showcase.png"), "footage": str(outputs / "footage.png")},
            "model": self.findings.model,
            "release": dict(self.refreshed),
            "footage": str(self.places.footage),
            "rendered": self.places.world is not None,
            "machine": machine(),
            "started_at": self.started.isoformat(timespec="seconds"),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def page(self) -> page.Page:
        """The contents of `report.html`."""
        minutes = self.figures["total_s"].value / 60
        samples = self.jobs["evaluate"].result["pictures"]["samples"]
        charts = [
            (f"{LABELS[step]}: training loss", Path(self.jobs[step].result["pictures"]["loss"]))
            for step in ("vae", "dit")
        ]
        return page.Page(
            title=f"A video model of your own, {minutes:.0f} minutes from footage to served",
            lead="Everything below was made by a model that learned here, on this machine, from "
            "the films described further down. The videos came from the running server, asked "
            "with the plain openai client.",
            takes=self.findings.takes,
            sheets=[
                (
                    "Real beside generated",
                    "On the left a clip that was held out from training, on the right what the "
                    "model makes of its caption alone, at the model's own size.",
                    Path(samples),
                ),
                (
                    "The footage",
                    "Middle frames of clips from all over the release, with the captions that the "
                    "model learned from.",
                    self.places.outputs / "footage.png",
                ),
            ],
            charts=charts,
            figures=self.figures,
            times=self.times(),
            trained_on=self.trained_on(),
            footer=[
                f"{self.started:%d %B %Y}. {machine_line()}",
                f"Footage: {self.places.footage}",
                f"Numbers for programs: {self.places.folder / 'report.json'}",
            ],
        )

    def times(self) -> list[tuple[str, float, bool]]:
        """Seconds of each stage, and of the jobs within it."""
        rows = []
        for stage, seconds in self.wall_s.items():
            rows.append((LABELS[stage], seconds, False))
            steps = [step for step in STEPS_OF.get(stage, ()) if step in self.jobs]
            rows += [(LABELS[step], self.jobs[step].wall_s, True) for step in steps]
        return rows

    def trained_on(self) -> list[str]:
        """From files to clips to a model, in sentences."""
        funnel, counts = self.refreshed["funnel"], self.refreshed["counts"]
        model = self.findings.model
        rejected = ", ".join(f"{n} {why}" for why, n in funnel["rejected"].items())
        millions = {name: count / 1e6 for name, count in model["parameters"].items()}
        return [
            f"{funnel['files']} files were found: {funnel['accepted']} films were taken in, "
            f"{funnel['duplicates']} were duplicates, {funnel['quarantined']} could not be used "
            f"and wait in quarantine with their reasons.",
            f"They hold {funnel['shots']} shots, which gave {counts['clips']:.0f} clips of "
            f"{counts['seconds'] / 60:.0f} minutes in all"
            + (f" (left out: {rejected})." if rejected else "."),
            f"Release {model['release']}: {counts['train']:.0f} clips to learn from, "
            f"{counts['val']:.0f} held out, {counts['captioned']:.0f} with captions.",
            f"Recipe {model['recipe']} ({model['recipe_hash']}): a VAE of {millions['vae']:.1f} M "
            f"parameters and a diffusion transformer of {millions['dit']:.1f} M, registered as "
            f"version {model['version']} of reel-generator.",
        ]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def machine_line() -> str:
    """The same for a reader."""
    facts = machine()
    return f"{facts['cpus']} CPU cores, {facts['memory_gb']} GiB of memory, {facts['platform']}"
