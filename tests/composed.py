"""The services of docker-compose.yml as processes of this machine: their very commands and environments.

What an engine would give them is put in its place: names of hosts become ports of this machine, mounts become folders,
the image's environment comes from the Dockerfile. Run by root they see everything but their own mounts read-only, as
the file promises, so a write anywhere else fails.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from app.embedded import postgres_program, valkey_program
from tests.processes import wait_until

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::?([-?])([^}]*))?\})")
NOBODY = 65534
PLACES = {
    "home:/data": "data",
    "broker:/data": "broker",
    "postgres:/var/lib/postgresql": "postgres",
    "/tmp": "tmp",
    "/run/prefloop": "metrics",
    "/run/postgresql": "sockets",
}
"""Mount -> folder in its place."""
LOCKED = """
mount --make-rprivate /
until [ "$1" = -- ]; do mount --bind "$1" "$1"; shift; done
shift
mount -o remount,ro,bind /
exec "$@"
"""
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """Compose's own substitution. Raises: KeyError for a variable that must be set."""

    def value(found: re.Match[str]) -> str:
        name, what, default = found.groups()
        if name is None:
            return "$"
        return values[name] if what != "-" else values.get(name, default)

    return VARIABLE.sub(value, text)


def services(values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Every service, variables put in; `$$` is one dollar."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(interpolated(COMPOSE.read_text(), values))["services"]
    return found


def stages() -> dict[str, str]:
    """Name of each stage of the Dockerfile and what stands in it."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def image_environment() -> dict[str, str]:
    """What the image sets for every process."""
    lines = re.findall(r"^ENV (.*)$", stages()["app"], flags=re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


def image_command(target: str) -> list[str]:
    """What a service runs that names no command."""
    words: list[str] = json.loads(re.findall(r"^CMD (.*)$", stages()[target], flags=re.MULTILINE)[-1])
    return words


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as tried:
        number: int = tried.getsockname()[1]
        return number


@dataclass(kw_only=True)
class Composed:
    """The services, started one by one in the order of their dependencies."""

    folder: Path
    values: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = services(self.values)
        self.ports = {name: free_port() for name in self.services}
        for place in (*PLACES.values(), "bin", "logs"):
            (self.folder / place).mkdir()
            (self.folder / place).chmod(0o777)  # PostgreSQL refuses to be root
        self._link_programs()

    def order(self) -> list[str]:
        """Names so that what one waits for comes before it."""
        graph = {name: set(service.get("depends_on", {})) for name, service in self.services.items()}
        return list(TopologicalSorter(graph).static_order())

    def start(self, name: str) -> None:
        """Start a service; one that others wait to complete is waited for."""
        with (self.folder / "logs" / name).open("wb") as log:
            process = self._popen(name, self.command(name), stdout=log, stderr=subprocess.STDOUT)
        self.running[name] = process
        if self.services[name].get("restart") == "no":
            assert process.wait(120) == 0, self.log(name)
            del self.running[name]

    def command(self, name: str) -> list[str]:
        """Its words, at the ports and folders of this machine."""
        service = self.services[name]
        words = service.get("command") or image_command(service["build"]["target"])
        if name == "postgres":
            place = ["-D", str(self.folder / "postgres" / "data"), "-k", str(self.folder / "sockets")]
            return [*words, *place, "-p", str(self.ports[name]), "-c", "listen_addresses=127.0.0.1"]
        if name == "broker":
            place = ["--port", str(self.ports[name]), "--bind", "127.0.0.1", "--dir", str(self.folder / "broker")]
            return [*words[:-1], " ".join((words[-1], *place))]
        return [self._here(word, name) for word in words]

    def is_healthy(self, name: str) -> bool:
        """What its own health check says."""
        assert self.running[name].poll() is None, f"{name} ended: {self.log(name)}"
        kind, *words = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else [self._here(word, name) for word in words]
        return self._popen(name, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait(30) == 0

    def wait_healthy(self, name: str, seconds: float = 120.0) -> None:
        """Until its health check says so."""
        wait_until(f"the health of {name}", lambda: self.is_healthy(name), seconds)

    def environment(self, name: str) -> dict[str, str]:
        """Nothing of this process, but where its programs are and what an image would hold."""
        service = self.services[name]
        programs = (self.folder / "bin", Path(sys.executable).parent, postgres_program("postgres").parent)
        machine = {
            "PATH": ":".join([*map(str, programs), "/usr/bin", "/bin"]),
            "TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder / "data"),
        }
        ours = image_environment() | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} if "build" in service else {}
        given = {key: self._here(str(value), name) for key, value in (ours | service.get("environment", {})).items()}
        if os.geteuid() == 0:
            machine["PYTHONWARNINGS"] = "ignore"  # that the worker is root, which the image is not
        return machine | given | {"PGHOST": "127.0.0.1", "PGPORT": str(self.ports["postgres"])}

    def log(self, name: str) -> str:
        """All it has written."""
        return (self.folder / "logs" / name).read_text()

    def stop(self) -> None:
        """End all, the last started first."""
        for name, process in reversed(self.running.items()):
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, name: str, *words: str) -> str:
        """Run a command in the place of a service; what it prints."""
        process = self._popen(name, list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out.decode()
        return out.decode()

    def _here(self, word: str, name: str) -> str:
        moved = {
            "@postgres/": f"@127.0.0.1:{self.ports['postgres']}/",
            "@broker:6379": f"@127.0.0.1:{self.ports['broker']}",
            "9100": str(self.ports[name]),
            "8000": str(self.ports["web"]),
            "/data": str(self.folder / "data"),
            "/run/prefloop": str(self.folder / "metrics"),
        }
        for there, here in moved.items():
            word = word.replace(there, here)
        return word

    def _popen(self, name: str, words: list[str], **streams: Any) -> subprocess.Popen[bytes]:
        env, cwd = self.environment(name), self.folder / "data"
        program = shutil.which(words[0], path=env["PATH"])
        assert program is not None, f"{words[0]} is not on this machine"
        return subprocess.Popen([*self._walls(name), program, *words[1:]], env=env, cwd=cwd, **streams)

    def _walls(self, name: str) -> list[str]:
        if os.geteuid() != 0:
            return []
        service = self.services[name]
        assert service["read_only"], "a service may write only into what it mounts"
        mounted = [mount.split(":")[0] for mount in service.get("tmpfs", [])] + service["volumes"]
        writable = [str(self.folder / PLACES[mount]) for mount in mounted]
        locked = ["unshare", "--mount", "sh", "-euc", LOCKED, "sh", *writable, "--"]
        return [*locked, *(AS_NOBODY if name == "postgres" else ())]

    def _link_programs(self) -> None:
        (self.folder / "bin" / "valkey-server").symlink_to(valkey_program())
        client = shutil.which("redis-cli") or shutil.which("valkey-cli")
        if client is not None:
            shim = self.folder / "bin" / "valkey-cli"
            shim.write_text(f'#!/bin/sh\nexec {client} -p {self.ports["broker"]} "$@"\n')
            shim.chmod(0o755)
