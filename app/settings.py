"""Deployment facts: where things are and how this process reaches them.

This is the only reader of the environment. Hyperparameters are data (`app.hparams`), never settings.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one process, read once at its entry point from variables `PREFLOOP_...` and passed down."""

    model_config = SettingsConfigDict(
        env_prefix="PREFLOOP_", extra="ignore", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    home: Path = Path("~/.prefloop").expanduser()
    """Folder that holds everything Prefloop keeps: database, broker, models, checkpoints, logs."""
    host: str = "127.0.0.1"
    """Address the web server listens on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port the web server listens on."""
    web_processes: Annotated[int, Field(ge=0, le=4)] = 0
    """Processes of the web server of `prefloop up`; 0: one for two cores, at most 4. No browser is tied to one."""
    public_url: str | None = None
    """Address under which people reach the site, when a proxy stands before it."""
    database_url: str | None = None
    """SQLAlchemy URL of PostgreSQL, `postgresql+psycopg://...`; `prefloop up` sets it to the embedded one."""
    owner_database_url: str | None = None
    """The same database under the role that owns the tables, for `prefloop migrate` alone. It then makes the role of
    `database_url` and lets it add to the audit log, not change it. None: one role does both."""
    broker_url: str | None = None
    """Celery broker URL, `redis://...`; `prefloop up` sets it to the embedded one."""
    secret_key: SecretStr | None = None
    """Signs the cookie that carries a single sign-on through; needed for that only, the same in all web processes."""
    lease_seconds: Annotated[int, Field(ge=10)] = 600
    """How long a comparison stays with one labeler before others may get it."""
    session_days: Annotated[int, Field(ge=1)] = 14
    """How long a browser stays signed in at most."""
    session_idle_days: Annotated[int, Field(ge=1)] = 7
    """A browser that nobody used for so long is signed out."""
    link_days: Annotated[int, Field(ge=1)] = 7
    """How long an unused sign-in link works."""
    labels_per_minute: Annotated[int, Field(ge=1)] = 6000
    """Changes that one labeler may ask one web process for: far beyond people, a stop for programs that run wild."""
    store: str | None = None
    """Place of checkpoints that workers on several machines share, a URL that fsspec opens, such as
    `s3://bucket/prefloop` (`pip install 'prefloop[s3]'`; credentials and endpoint in `AWS_...`). None: the folder
    `checkpoints` of the home alone."""
    oidc_issuer: str | None = None
    """Single sign-on: the issuer's URL, under which `.well-known/openid-configuration` lies. None: none."""
    oidc_client_id: str | None = None
    """What the provider calls this site."""
    oidc_client_secret: SecretStr | None = None
    """None: a public client, which proves itself by PKCE alone."""
    oidc_new_role: Literal["labeler", "researcher"] | None = None
    """Role of people whom single sign-on brings and nobody invited. None: they are turned away."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How often a running job says that it lives."""
    stale_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A running job without a heartbeat for this long belongs to nobody and may be claimed again."""
    resend_seconds: Annotated[float, Field(gt=0)] = 20.0
    """A queued job that nobody claimed for this long is sent to the broker again."""
    file_days: Annotated[int, Field(ge=1)] = 30
    """Days that uploads, and the files of exports, stay after they were used last."""
    trainer_threads: Annotated[int, Field(ge=0)] = 0
    """Threads for matrix work in a trainer process; 0 takes all cores."""
    trainer_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that a trainer starts to train one model together, a GPU for each; 1: it trains by itself. Where they
    cannot share the episodes of a minibatch evenly, fewer do."""
    trainer_compile: bool = False
    """Compile what PPO runs: worth it on a GPU, where the first update then takes half a minute longer."""
    trainer_sharding: Literal["auto", "always", "never"] = "auto"
    """Whether these processes split policy, value network, gradients and optimizer among them (FSDP2): `auto` where a
    GPU has no room for a copy of each."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least that is logged."""
    log_format: Literal["text", "json"] = "text"
    """How web server and workers log: for people, or one JSON object per line."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port on which a worker answers Prometheus, at the address `PREFLOOP_HOST`. None: on none; the site tells the
    state of the plant in any case."""
    metrics_dir: Annotated[Path | None, Field(validation_alias="PROMETHEUS_MULTIPROC_DIR")] = None
    """Folder in which several web processes of one machine add up their figures for Prometheus; empty at the start."""

    @model_validator(mode="after")
    def _single_sign_on_is_whole(self) -> Self:
        needed = {"OIDC_CLIENT_ID": self.oidc_client_id, "SECRET_KEY": self.secret_key}
        lacking = [f"PREFLOOP_{name}" for name, value in needed.items() if not value]
        if self.oidc_issuer and lacking:
            raise ValueError(f"single sign-on (PREFLOOP_OIDC_ISSUER) needs {' and '.join(lacking)} too")
        return self

    def need_database_url(self) -> str:
        """The database URL, or a sentence that says how to give one."""
        if self.database_url is None:
            raise SystemExit("PREFLOOP_DATABASE_URL is not set: give a PostgreSQL URL, or start with `prefloop up`.")
        return self.database_url

    def need_owner_url(self) -> str:
        """The URL of the role that owns the tables."""
        return self.owner_database_url or self.need_database_url()

    def need_broker_url(self) -> str:
        """The broker URL, or a sentence that says how to give one."""
        if self.broker_url is None:
            raise SystemExit("PREFLOOP_BROKER_URL is not set: give a Redis or Valkey URL, or start with `prefloop up`.")
        return self.broker_url

    @property
    def site_url(self) -> str:
        """Address of the site without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def models_dir(self) -> Path:
        """Base models, one folder each."""
        return self.home / "models"

    @property
    def checkpoints_dir(self) -> Path:
        """Checkpoint store: one folder per digest."""
        return self.home / "checkpoints"


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `changes`, for a process that it starts."""
    return {**os.environ, **changes}
