"""Hold the pinned versions against the known vulnerabilities, and say plainly what could not be looked up.

    python -m scripts.dependency_audit [--program pip-audit] [--require]

Asks each service of pip-audit in turn until one knows the packages. Exit code 1 for a vulnerability; where no service
can be reached it says so and ends with 0, or with 2 under `--require`. A package that the service does not know counts
as not looked up, however cheerful the service is about it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PINNED = Path(__file__).parent.parent / "constraints.txt"
SERVICES = ("osv", "pypi")
SECONDS = 60
"""A service that has not answered by then is not reached."""
IGNORED: dict[str, str] = {}
"""Vulnerability -> why it does not matter here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a service said."""

    known: int
    """Packages that it looked up."""
    unknown: tuple[str, ...]
    findings: tuple[str, ...]
    """One line for each vulnerability that is not ignored."""


def read(report: str) -> Audit:
    """A report of pip-audit in its JSON form."""
    packages = json.loads(report)["dependencies"]
    unknown = tuple(one["name"] for one in packages if "skip_reason" in one)
    findings = tuple(
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none yet'}"
        for one in packages
        for fault in one.get("vulns", ())
        if not {fault["id"], *fault.get("aliases", ())} & IGNORED.keys()
    )
    return Audit(known=len(packages) - len(unknown), unknown=unknown, findings=findings)


def ask(program: str, service: str, pinned: Path) -> Audit | None:
    """None if the service cannot be reached."""
    words = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--timeout=10", "--format=json"]
    asked = [program, f"--requirement={pinned}", f"--vulnerability-service={service}", *words]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return read(done.stdout) if done.stdout.startswith("{") else None


def main(arguments: Sequence[str] | None = None) -> int:
    """From the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dependency_audit", description=__doc__)
    parser.add_argument("--program", default="pip-audit", help="pip-audit, where it is not on the path")
    parser.add_argument("--pinned", type=Path, default=PINNED)
    parser.add_argument("--require", action="store_true", help="exit code 2 if nothing can be looked up")
    options = parser.parse_args(arguments)
    for service in SERVICES:
        found = ask(options.program, service, options.pinned)
        if found is not None and (found.known or found.findings):
            return tell(service, found)
    print("NOT AUDITED: no vulnerability service knows the packages from here (asked: " + ", ".join(SERVICES) + ").")
    return 2 if options.require else 0


def tell(service: str, found: Audit) -> int:
    """Print it; the exit code."""
    print(f"{found.known} packages looked up with {service}, {len(found.findings)} vulnerabilities.")
    if found.unknown:
        print(f"Not looked up, for the service does not know them: {', '.join(found.unknown)}.")
    print("\n".join(found.findings))
    return 1 if found.findings else 0


if __name__ == "__main__":
    sys.exit(main())
