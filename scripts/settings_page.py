"""Writes docs/settings.md from app/settings.py: python -m scripts.settings_page"""

from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from app.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Deployment facts, read from the environment of each process: web server, workers, tick and the `prefloop` command.
Hyperparameters are no settings, see [presets](presets.md). `prefloop doctor` checks what they lead to.

This page is made from `app/settings.py` by `python -m scripts.settings_page`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    variable = field.validation_alias or f"PREFLOOP_{name.upper()}"
    return f"| `{variable}` | {_default(name, field)} | {meaning}{_choices(field.annotation)} |\n"


def _default(name: str, field: FieldInfo) -> str:
    if name == "home":
        return "`~/.prefloop`"
    return "" if field.default is None else f"`{field.default}`"


def _choices(annotation: Any) -> str:
    """The words that may be given, where only some may."""
    words = [word for part in (annotation, *get_args(annotation)) for word in get_args(part) if isinstance(word, str)]
    return f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""


if __name__ == "__main__":
    PAGE.write_text(page())
