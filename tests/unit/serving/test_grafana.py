"""The Grafana board asks for metrics that the server really exports."""

import json
import re
from pathlib import Path

import infra

BOARD = Path(infra.__file__).parent / "deploy/grafana.json"
METRIC = re.compile(r"\breel_[a-z_]+\b")
LABEL = re.compile(r"(reel_[a-z_]+)\{([a-z_]+)")


def test_every_query_names_a_metric_and_a_label_that_exist(still_world) -> None:
    still_world.client.post("/v1/videos", json={"prompt": "a", "seconds": 1})
    page = still_world.client.get("/metrics").text
    panels = json.loads(BOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = set(METRIC.findall(" ".join(queries)))
    samples = {re.split(r"[{ ]", line)[0] for line in page.splitlines() if line[:1] != "#"}
    assert asked and asked <= samples
    for metric, label in LABEL.findall(" ".join(queries)):
        assert re.search(rf"^{metric}\{{[^}}]*\b{label}=", page, re.M), (metric, label)
    said = set(re.findall(r"^# HELP (reel_\w+?)(?:_total)? ", page, re.M))
    said = {metric for metric in said if not metric.endswith("_created")}
    named = {re.sub("_(bucket|total)$", "", metric) for metric in asked}
    assert said <= named, "a metric that no panel shows"


def test_panels_do_not_cover_each_other() -> None:
    places = set()
    for panel in json.loads(BOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places and at["x"] + at["w"] <= 24
        places |= cells
