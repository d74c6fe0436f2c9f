"""Backup and restore of a whole site: rows, checkpoints, base models and uploads, as they belong together.

PLACE/files/<sha256>                      checkpoints, models, uploads: immutable, shared by the backups of the place
PLACE/backups/<id>/<table>.copy.gz        rows of one snapshot
PLACE/backups/<id>/manifest.json          written last: a backup is there when its manifest is

PLACE is a folder or a URL that fsspec opens. One site has one place.
"""

from app.backup.listing import backups, examine, newest, remove_all_but
from app.backup.manifest import Manifest
from app.backup.place import Place
from app.backup.restoring import Restored, restore
from app.backup.taking import Site, Taken, take

__all__ = [
    "Manifest",
    "Place",
    "Restored",
    "Site",
    "Taken",
    "backups",
    "examine",
    "newest",
    "remove_all_but",
    "restore",
    "take",
]
