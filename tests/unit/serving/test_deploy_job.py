"""Deploying: a version that does not become healthy leaves the one before it in place."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.errors import InfrastructureError, InputError, JobError
from infra.job_files import read_json
from infra.settings import Settings
from modeling.generate import Generator
from serving.canary import check_canary
from serving.service import ModelInfo
from tests.unit.modeling.small import small_bundle

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray Serve's own, when it is imported
    from serving import job
    from serving.app import application


class Cluster:
    """Stands for Ray Serve: versions in `broken` do not start."""

    def __init__(self, broken: set[str]) -> None:
        self.broken, self.served, self.starts, self.swaps = broken, None, [], []

    def swap(self, _settings, info, _bundle) -> None:
        self.swaps.append(info.version)
        if info.version in self.broken:
            raise InfrastructureError("its canary is grey")
        self.served = info.version

    def run(self, _settings, info, _bundle, _app) -> None:
        self.starts.append(info.version)
        self.served = None
        if info.version in self.broken:
            raise InfrastructureError("the replica died")
        self.served = info.version

    def delete(self, _name, _blocking) -> None:
        self.served = None


@pytest.fixture
def cluster(monkeypatch) -> Cluster:
    cluster = Cluster({"bad"})
    monkeypatch.setattr(job, "_run", cluster.run)
    monkeypatch.setattr(job, "_swap", cluster.swap)
    monkeypatch.setattr(job.serve, "delete", cluster.delete)
    monkeypatch.setattr(job, "describe", lambda _bundle, version: info(version))
    monkeypatch.setattr(job, "is_healthy", lambda _settings, version: cluster.served == version)
    return cluster


def info(version: str) -> ModelInfo:
    return ModelInfo(version=version, size=(64, 48), fps=8.0)


def test_a_healthy_version_is_remembered(cluster, tmp_path):
    settings = Settings(home=tmp_path)
    job.deploy(settings, info("1"), Path("/models/1"))
    remembered = read_json(tmp_path / "serve.json")
    assert (remembered["version"], remembered["bundle"]) == ("1", "/models/1")
    assert ModelInfo.of(remembered["model"]) == info("1") and remembered["app"]


def test_another_version_is_swapped_into_what_runs(cluster, tmp_path):
    settings = Settings(home=tmp_path)
    job.deploy(settings, info("1"), Path("/models/1"))
    app = read_json(tmp_path / "serve.json")["app"]
    job.deploy(settings, info("2"), Path("/models/2"))
    assert (cluster.starts, cluster.swaps, cluster.served) == (["1"], ["2"], "2")
    remembered = read_json(tmp_path / "serve.json")
    assert (remembered["version"], remembered["app"]) == ("2", app)
    with pytest.raises(JobError, match="its canary is grey; version 2 is served on"):
        job.deploy(settings, info("bad"), Path("/models/bad"))
    assert cluster.starts == ["1"] and read_json(tmp_path / "serve.json") == remembered


def test_the_version_before_comes_back(cluster, tmp_path):
    settings = Settings(home=tmp_path)
    job.deploy(settings, info("1"), Path("/models/1"))
    cluster.served = None  # Ray was started again
    with pytest.raises(JobError, match="the replica died; version 1 is served again"):
        job.deploy(settings, info("bad"), Path("/models/bad"))
    assert cluster.served == "1" and read_json(tmp_path / "serve.json")["version"] == "1"


def test_a_version_before_that_is_broken_too_does_not_hide_the_reason(cluster, tmp_path):
    settings = Settings(home=tmp_path)
    job.deploy(settings, info("1"), Path("/models/1"))
    cluster.broken.add("1")
    cluster.served = None
    with pytest.raises(JobError, match=r"bad did not become healthy.*1, served before, did not"):
        job.deploy(settings, info("bad"), Path("/models/bad"))


def test_without_a_version_before_nothing_is_left_half_started(cluster, tmp_path):
    with pytest.raises(JobError, match="nothing is served"):
        job.deploy(Settings(home=tmp_path), info("bad"), Path("/models/bad"))
    assert cluster.served is None and not (tmp_path / "serve.json").exists()


def test_deploying_the_served_version_restarts_nothing(cluster, tmp_path):
    settings = Settings(home=tmp_path)
    for _ in range(2):
        job.deploy(settings, info("1"), Path("/models/1"))
    assert cluster.starts == ["1"]


def engines(tmp_path, **options):
    bound = application(Settings(home=tmp_path, **options), info("1"), Path("/models/1"), "app")
    (engine,) = [
        each for each in bound._bound_deployment.init_args if hasattr(each, "_bound_deployment")
    ]
    return engine._bound_deployment


def test_one_engine_is_not_scaled_and_several_are_by_the_backlog(tmp_path):
    one = engines(tmp_path)
    assert one.num_replicas == 1 and one._deployment_config.autoscaling_config is None
    several = engines(tmp_path, max_engines=3, engine_backlog_s=90)
    scaled = several._deployment_config.autoscaling_config
    assert (scaled.min_replicas, scaled.max_replicas, scaled.downscale_delay_s) == (1, 3, 90)
    policy = scaled.policy.get_policy()(**scaled.policy.policy_kwargs)
    sample = SimpleNamespace(timestamp=1.0, value=200.0)
    metrics = {"queued_device_s": {"a": [sample]}}
    assert policy(SimpleNamespace(target_num_replicas=1, raw_metrics=metrics))[0] == 3


@pytest.mark.parametrize("version", ["champion", "../3", ""])
def test_a_version_is_a_number(version, tmp_path):
    with pytest.raises(InputError, match="not a model version"):
        job.fetch(Settings(home=tmp_path), version)


def test_a_model_of_nan_is_refused_before_anything_is_touched():
    generator = Generator(small_bundle())
    check_canary(generator, "3")
    next(iter(generator.bundle.dit.parameters())).data.fill_(float("nan"))
    with pytest.raises(InputError, match="version 3 makes a picture of one colour"):
        check_canary(generator, "3")
