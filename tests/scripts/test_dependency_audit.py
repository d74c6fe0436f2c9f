"""A vulnerability fails the audit, an unreachable service does not, and neither is taken for the other."""

import json
import sys
from pathlib import Path

import pytest

from scripts import dependency_audit

BAD = {"id": "PYSEC-2024-1", "fix_versions": ["3.1.6"], "aliases": ["CVE-2024-1"], "description": "escapes"}
JINJA = {"name": "jinja2", "version": "3.1.2", "vulns": [BAD]}
FINE = {"name": "fastapi", "version": "0.130.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found"}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def service(folder: Path, answers: dict[str, str]) -> str:
    """A program that answers for each service as pip-audit does: the report, or a trace and exit code 1."""
    program = folder / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nanswers = {answers!r}\n"
        "asked = next(word.split('=')[1] for word in sys.argv if word.startswith('--vulnerability-service'))\n"
        "print(answers[asked]) if asked in answers else sys.exit('Traceback: ConnectionError')\n"
    )
    program.chmod(0o755)
    return str(program)


def test_what_a_report_says() -> None:
    found = dependency_audit.read(report(JINJA, FINE, SKIPPED))
    assert (found.known, found.unknown) == (2, ("torch",))
    assert found.findings == ("jinja2 3.1.2: PYSEC-2024-1, mended in 3.1.6",)


def test_an_ignored_vulnerability_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dependency_audit.IGNORED, "CVE-2024-1", "we render no templates of strangers")
    assert dependency_audit.read(report(JINJA)).findings == ()


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ({"osv": report(JINJA, FINE)}, 1, "jinja2 3.1.2: PYSEC-2024-1"),
        ({"pypi": report(JINJA)}, 1, "looked up with pypi"),
        ({"osv": report(FINE)}, 0, "1 packages looked up with osv, 0 vulnerabilities"),
        ({"osv": report(FINE, SKIPPED)}, 0, "does not know them: torch"),
        ({}, 0, "NOT AUDITED"),
        ({"pypi": report(SKIPPED)}, 0, "NOT AUDITED"),
    ],
)
def test_how_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: dict[str, str], code: int, said: str
) -> None:
    program = service(tmp_path, answers)
    assert dependency_audit.main(["--program", program]) == code
    out = capsys.readouterr().out
    assert said in out
    strict = dependency_audit.main(["--program", program, "--require"])
    assert strict == (2 if "NOT AUDITED" in out else code)
