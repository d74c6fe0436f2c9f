"""What the Dockerfile and docker-compose.yml promise, read from the files: no container engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.jobs import Queue

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
    return found


def stages() -> dict[str, str]:
    """Name of each build stage and what stands in it."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_secret_stops_the_start_while_it_is_not_set() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)(:?[^}]*)\}", COMPOSE_TEXT)
    assert {name for name, _ in secrets} == {
        "POSTGRES_PASSWORD",
        "SITE_DATABASE_PASSWORD",
        "VALKEY_PASSWORD",
        "PREFLOOP_SECRET_KEY",
    }
    assert {what for _, what in secrets} == {":?set it in .env"}


def test_only_the_site_is_published_and_on_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"web": ["${PREFLOOP_BIND:-127.0.0.1}:${PREFLOOP_PORT:-8000}:8000"]}


def test_nothing_starts_before_the_tables_are_there(services: dict[str, dict[str, Any]]) -> None:
    ours = {"web", "control", "tick", "trainer"}
    waits = {services[name]["depends_on"]["migrate"]["condition"] for name in ours}
    assert waits == {"service_completed_successfully"}
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert all("healthcheck" in services[name] for name in ("postgres", "valkey", "web"))


def test_all_but_the_migration_come_back_after_a_crash(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if service["restart"] != "unless-stopped"} == {"migrate"}


def test_every_queue_has_its_worker(services: dict[str, dict[str, Any]]) -> None:
    words = [word for service in services.values() for word in service.get("command", [])]
    served = [queue for word in words if word.startswith("--queues=") for queue in word[9:].split(",")]
    assert sorted(served) == sorted(Queue)


def test_every_celery_command_names_a_module_of_ours(services: dict[str, dict[str, Any]]) -> None:
    words = [word for service in services.values() for word in service.get("command", [])]
    modules = [word.removeprefix("--app=") for word in words if word.startswith("--app=")]
    assert len(modules) == 3
    assert all((ROOT / module.replace(".", "/")).with_suffix(".py").is_file() for module in modules)


def test_built_stages_exist_and_end_without_root(services: dict[str, dict[str, Any]]) -> None:
    targets = {service["build"]["target"] for service in services.values() if "build" in service}
    assert targets == {"app", "train"}
    for target in targets:
        assert re.findall(r"^USER (\w+)$", stages()[target], flags=re.MULTILINE)[-1] == "prefloop"


def test_the_image_of_the_site_installs_nothing_that_trains() -> None:
    assert "[train]" not in stages()["app"]
    assert "[train]" in stages()["train"]


def test_all_that_the_wheel_is_built_from_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    assert copied == allowed
