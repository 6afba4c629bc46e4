"""Settings: facts of the deployment, read from `REEL_*` variables here and nowhere else."""

import ipaddress
import json
import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.allocator import allocator_env


class Settings(BaseSettings):
    """Where things live and which ports they use. Science belongs in recipes, not here."""

    model_config = SettingsConfigDict(env_prefix="REEL_", extra="ignore")

    home: Path = Field(default=Path(".reel"), description="folder that holds everything local")
    lake_uri: str = Field(default="", description="Lance lake; default HOME/lake, or s3://…")
    catalog_url: str = Field(default="", description="SQLAlchemy URL; default SQLite in HOME")
    mlflow_store: str = Field(
        default="", description="MLflow backend store; default SQLite in HOME"
    )
    media_dir: Path = Field(default=Path(), description="generated media; default HOME/media")

    host: str = Field(default="127.0.0.1", description="address that every local service binds")
    prefect_port: int = 4200
    mlflow_port: int = 5000
    ray_port: int = 6379
    ray_dashboard_port: int = 8265
    serve_port: int = 8000

    ray_auth_mode: str = Field(default="disabled", description="disabled on loopback, else token")
    num_cpus: int = Field(default=0, description="CPU cores to use; 0 means all")
    allocator: Literal["jemalloc", "system"] = Field(
        default="jemalloc", description="memory allocator of what `reel up` starts, and its jobs"
    )
    job_silence_s: float = Field(default=600, description="a job silent for longer has failed")
    checkpoint_s: float = Field(default=30, description="training saves itself this often")
    caption_parallel: Literal["auto", "inline", "ray"] = Field(
        default="auto", description="where models look at clips: the job's process, the cluster"
    )
    fetch_gib: float = Field(default=20, gt=0, description="disk for films fetched from elsewhere")
    caption_key: SecretStr = Field(
        default=SecretStr(""),
        description="key of the captioning endpoint; never handed on: set it before `reel up`",
    )
    api_keys: Literal["auto", "off", "required"] = Field(
        default="auto", description="auto asks for keys unless the host is loopback"
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="key that `reel` itself calls the server with"
    )
    queue_device_s: float = Field(
        default=4 * 3600, gt=0, description="estimated device time that may wait in the queue"
    )
    max_engines: int = Field(
        default=1, ge=1, description="engines that may work at a time; more start as jobs wait"
    )
    engine_backlog_s: float = Field(
        default=60, gt=0, description="device time that may wait for an engine; more starts another"
    )
    engine_gpus: float = Field(
        default=0, ge=0, description="GPUs that each engine reserves; at 0 it shares its node's"
    )
    fetch_urls: bool = Field(default=False, description="fetch pictures that requests name by URL")
    private_hosts: list[str] = Field(
        default=[], description="hosts (JSON list) that webhooks may reach inside, over http too"
    )
    blocked_words: list[str] = Field(
        default=["child pornography", "child porn", "csam"],
        description="words and phrases (JSON list) that prompts may not hold",
    )
    blocked_words_file: Path | None = Field(
        default=None, description="more of them, one a line; unreadable, nothing is made"
    )
    moderation_url: str = Field(
        default="", description="/v1 of an OpenAI-compatible server that is asked about prompts"
    )
    moderation_model: str = Field(default="omni-moderation-latest", description="its model")
    moderation_key: SecretStr = Field(
        default=SecretStr(""), description="its key; never handed on: set it before `reel up`"
    )
    provenance_key: Path = Field(
        default=Path(), description="PEM key that signs what is generated; default one made here"
    )
    provenance_certificate: Path = Field(
        default=Path(), description="PEM certificates of that key, its own first"
    )
    traces: Literal["off", "console", "file", "otlp"] = Field(
        default="off", description="where spans go; file is HOME/logs/traces.jsonl"
    )
    traces_endpoint: str = Field(
        default="http://127.0.0.1:4318/v1/traces", description="OTLP over HTTP, for traces=otlp"
    )
    media_ttl_s: float = Field(default=30 * 86400, description="generated media expire after this")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Flow runs execute in a temporary working directory, so every path must be absolute.
        return home.expanduser().absolute()

    def model_post_init(self, _context: object) -> None:
        """Fill the places that default to somewhere inside `home`."""
        self.lake_uri = self.lake_uri or str(self.home / "lake")
        self.catalog_url = self.catalog_url or f"sqlite:///{self.home / 'catalog.db'}"
        self.mlflow_store = self.mlflow_store or f"sqlite:///{self.home / 'mlflow.db'}"
        if self.media_dir == Path():
            self.media_dir = self.home / "media"

    @field_validator("blocked_words_file")
    @classmethod
    def _absolute_file(cls, path: Path | None) -> Path | None:
        return None if path is None or path == Path() else path.expanduser().absolute()

    @property
    def prefect_api_url(self) -> str:
        return f"http://{self.host}:{self.prefect_port}/api"

    @property
    def mlflow_url(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def ray_url(self) -> str:
        """Ray dashboard and job submission address."""
        return f"http://{self.host}:{self.ray_dashboard_port}"

    @property
    def ray_address(self) -> str:
        """Address that `ray.init` connects to."""
        return f"{self.host}:{self.ray_port}"

    @property
    def serve_url(self) -> str:
        return f"http://{self.host}:{self.serve_port}"

    @property
    def needs_keys(self) -> bool:
        """Whether callers of the API must have a key."""
        if self.api_keys != "auto":
            return self.api_keys == "required"
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def cpu_count(self) -> int:
        return self.num_cpus or os.cpu_count() or 1

    def process_env(self) -> dict[str, str]:
        """Environment that every child process needs: our places and addresses, no phoning home."""
        return {
            "REEL_HOME": str(self.home),
            "REEL_LAKE_URI": self.lake_uri,
            "REEL_CATALOG_URL": self.catalog_url,
            "REEL_MLFLOW_STORE": self.mlflow_store,
            "REEL_MEDIA_DIR": str(self.media_dir),
            "REEL_HOST": self.host,
            "REEL_PREFECT_PORT": str(self.prefect_port),
            "REEL_MLFLOW_PORT": str(self.mlflow_port),
            "REEL_RAY_PORT": str(self.ray_port),
            "REEL_RAY_DASHBOARD_PORT": str(self.ray_dashboard_port),
            "REEL_SERVE_PORT": str(self.serve_port),
            "REEL_RAY_AUTH_MODE": self.ray_auth_mode,
            "REEL_NUM_CPUS": str(self.num_cpus),
            "REEL_JOB_SILENCE_S": str(self.job_silence_s),
            "REEL_CHECKPOINT_S": str(self.checkpoint_s),
            "REEL_CAPTION_PARALLEL": self.caption_parallel,
            "REEL_FETCH_GIB": str(self.fetch_gib),
            "REEL_API_KEYS": self.api_keys,
            "REEL_QUEUE_DEVICE_S": str(self.queue_device_s),
            "REEL_MAX_ENGINES": str(self.max_engines),
            "REEL_ENGINE_BACKLOG_S": str(self.engine_backlog_s),
            "REEL_ENGINE_GPUS": str(self.engine_gpus),
            "REEL_FETCH_URLS": str(self.fetch_urls),
            "REEL_PRIVATE_HOSTS": json.dumps(self.private_hosts),
            "REEL_BLOCKED_WORDS": json.dumps(self.blocked_words),
            "REEL_BLOCKED_WORDS_FILE": str(self.blocked_words_file or ""),
            "REEL_MODERATION_URL": self.moderation_url,
            "REEL_MODERATION_MODEL": self.moderation_model,
            "REEL_PROVENANCE_KEY": str(self.provenance_key),
            "REEL_PROVENANCE_CERTIFICATE": str(self.provenance_certificate),
            "REEL_TRACES": self.traces,
            "REEL_TRACES_ENDPOINT": self.traces_endpoint,
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": self.prefect_api_url,
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "RAY_AUTH_MODE": self.ray_auth_mode,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "DO_NOT_TRACK": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            # Ray lowers its workers' priority by 15: training would yield to every idle service.
            "RAY_worker_niceness": "0",
            "REEL_ALLOCATOR": self.allocator,
            **allocator_env(self.allocator, os.environ.get("LD_PRELOAD", "")),
            "LANCE_CPU_THREADS": str(self.cpu_count),
        }

    def enter_allocator(self) -> None:
        """Begin this process again on the allocator of those that it starts, unless it runs on it:
        a process has one from its first moment. For those that compute as jobs and engines do."""
        wanted = allocator_env(self.allocator, os.environ.get("LD_PRELOAD", ""))
        if any(os.environ.get(name) != value for name, value in wanted.items()):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)
