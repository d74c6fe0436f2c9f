"""Hosts that are none: network namespaces with addresses and names of their own, on one bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from app.supervisor import Child

BRIDGE = "prefloop-t"
NET = "10.213.7"
CENTER = f"{NET}.1"


def possible() -> bool:
    """Whether this process may make namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None and _ip("netns", "list", check=False)


@dataclass(frozen=True, slots=True)
class Host:
    """One of them."""

    name: str
    number: int

    @property
    def link(self) -> str:
        """Its end of the cable at the bridge."""
        return f"pf-veth{self.number}"

    @property
    def address(self) -> str:
        """Its own."""
        return f"{NET}.{10 + self.number}"

    def runs(self, child: Child) -> Child:
        """The same program on this host."""
        named = ("unshare", "--uts", "sh", "-c", f'hostname {self.name} && exec "$@"', "sh")
        return replace(
            child, name=f"{child.name}-{self.name}", argv=("ip", "netns", "exec", self.name, *named, *child.argv)
        )

    def cut_off(self) -> None:
        """Pull the cable: no packet comes through, and nobody is told."""
        _ip("link", "set", self.link, "down")

    def plug_in(self) -> None:
        """Put it back."""
        _ip("link", "set", self.link, "up")


@contextmanager
def hosts(names: Sequence[str]) -> Iterator[list[Host]]:
    """Hosts that reach this machine at `CENTER`, and each other."""
    made = [Host(name, number) for number, name in enumerate(names, 1)]
    _remove(made)
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{CENTER}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for host in made:
            _add(host)
        yield made
    finally:
        _remove(made)


def _add(host: Host) -> None:
    inner = f"{host.link}n"
    _ip("netns", "add", host.name)
    _ip("link", "add", host.link, "type", "veth", "peer", "name", inner)
    _ip("link", "set", inner, "netns", host.name)
    _ip("link", "set", host.link, "master", BRIDGE)
    _ip("link", "set", host.link, "up")
    for words in (
        ("addr", "add", f"{host.address}/24", "dev", inner),
        ("link", "set", inner, "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", host.name, *words)


def _remove(made: Sequence[Host]) -> None:
    for host in made:
        _ip("link", "del", host.link, check=False)
        _ip("netns", "del", host.name, check=False)
    _ip("link", "del", BRIDGE, check=False)


def _ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(("ip", *words), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
    return done.returncode == 0
