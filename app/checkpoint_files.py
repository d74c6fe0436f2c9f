"""What lies in the folder of one checkpoint, as its manifest tells; the store in `workers` writes it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MANIFEST = "manifest.json"
SUFFIX = ".safetensors"
_CONTENT = ("kind", "meta", "files", "extras")
"""What of a manifest the digest stands for; it tells of library versions beside."""


def digest_of(manifest: Mapping[str, Any]) -> str:
    """The name that the folder of this manifest must have."""
    content = {key: value for key, value in manifest.items() if key in _CONTENT}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def files_of(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Size and sum of every file but the manifest, by its whole name."""
    files: dict[str, dict[str, Any]] = {name + SUFFIX: written for name, written in manifest["files"].items()}
    files.update(manifest.get("extras", {}))
    return files
