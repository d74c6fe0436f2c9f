"""A Hugging Face hub on this machine: the part of its HTTP API that pushing, pulling and streaming need.

What speaks to it is the real huggingface_hub, transformers and datasets. It is as strict as the hub: it asks who writes
where, checks size and sha256 of what is uploaded, and commits a large file only once its content is there.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".bin")
"""Files that go by LFS; the others are in the commit itself."""


@dataclass(slots=True)
class Repo:
    """One repository at its only revision, `main`."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        """Of the commit: another one for other content."""
        named = sorted((name, hashlib.sha1(content).hexdigest()) for name, content in self.files.items())
        return hashlib.sha1(repr(named).encode()).hexdigest()


@dataclass(slots=True)
class Hub:
    """What the server holds, and how it behaves."""

    users: dict[str, str]
    """Token -> who it speaks for; they write into the namespace of that name."""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    """By kind (`model`, `dataset`) and name."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    """Large files by sha256."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    cut: str | None = None
    """The line goes dead on requests in whose method and path this stands."""
    broken: dict[str, int] = field(default_factory=dict)
    """Status that it answers with where this stands in method and path."""
    url: str = ""

    def environment(self, token: str | None) -> dict[str, str]:
        """What makes huggingface_hub speak to it, in a process of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1"} | ({"HF_TOKEN": token} if token else {})


@contextmanager
def hub_of(**users: str) -> Iterator[Hub]:
    """A running hub. Args: who each user's token is."""
    hub = Hub(users={token: name for name, token in users.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, said: str, code: str | None = None) -> None:
        self.status, self.said, self.code = status, said, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.cut is not None and self.hub.cut in self.hub.asked[-1]:
            self.close_connection = True
            self.connection.close()
            return
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for part, status in self.hub.broken.items():
                if part in self.hub.asked[-1]:
                    raise _RefusedError(status, "not today")
            method = "GET" if self.command == "HEAD" else self.command
            for pattern, answer in ROUTES:
                if found := re.fullmatch(pattern, f"{method} {path}"):
                    answer(self, **found.groupdict())
                    return
            raise _RefusedError(404, f"no such page: {path}")
        except _RefusedError as error:
            code = {"X-Error-Code": error.code} if error.code else {}
            self._say({"error": error.said}, error.status, {"X-Error-Message": error.said, **code})

    def _say(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def _user(self) -> str | None:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given and given not in self.hub.users:
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return self.hub.users.get(given)

    def _writing(self, namespace: str) -> None:
        if self._user is None:
            raise _RefusedError(401, "Invalid username or password.")
        if self._user != namespace:
            raise _RefusedError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')

    def _repo(self, kind: str, name: str) -> Repo:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self._user != name.split("/")[0]):
            raise _RefusedError(401, "Repository not found", "RepoNotFound")
        return repo

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked["organization"] or self._user or ""
        self._writing(owner)
        key = (asked.get("type") or "model", f"{owner}/{asked['name']}")
        made = {"url": f"{self.hub.url}/{key[1]}"}
        if key in self.hub.repos:
            self._say(made | {"error": "You already created this model repo"}, 409)
            return
        self.hub.repos[key] = Repo(private=asked.get("visibility") == "private")
        self._say(made)

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        bad = not content.startswith("---\n")
        self._say({"errors": [{"message": "no YAML head"}] if bad else [], "warnings": []}, 400 if bad else 200)

    def preupload(self, kind: str, name: str) -> None:
        self._writing(name.split("/")[0])
        repo = self._repo(kind, name)
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": _oid(one["path"], repo.files[one["path"]]) if one["path"] in repo.files else None,
            }
            for one in json.loads(self.body)["files"]
        ]
        self._say({"files": files})

    def batch(self, name: str) -> None:
        self._writing(name.split("/")[0])
        objects = []
        for one in json.loads(self.body)["objects"]:
            href = {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}
            verify = {"href": f"{self.hub.url}/verify", "header": {}}
            there = one["oid"] in self.hub.uploads
            objects.append(one | ({} if there else {"actions": {"upload": href, "verify": verify}}))
        self._say({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400, "the content has another sha256")
        self.hub.uploads[oid] = self.body
        self._say({})

    def verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.hub.uploads.get(asked["oid"], b"")) != asked["size"]:
            raise _RefusedError(404, "not uploaded")
        self._say({})

    def commit(self, kind: str, name: str) -> None:
        self._writing(name.split("/")[0])
        repo, made = self._repo(kind, name), {}
        for line in self.body.splitlines():
            one = json.loads(line)
            if one["key"] == "file":
                made[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            elif one["key"] == "lfsFile":
                if one["value"]["oid"] not in self.hub.uploads:
                    raise _RefusedError(400, f"{one['value']['path']} was not uploaded")
                made[one["value"]["path"]] = self.hub.uploads[one["value"]["oid"]]
        repo.files |= made
        url = f"{self.hub.url}/{name}/commit/{repo.sha}"
        self._say({"success": True, "commitOid": repo.sha, "commitUrl": url, "hookOutput": ""})

    def about(self, kind: str, name: str, revision: str | None = None) -> None:
        repo = self._repo(kind, name)
        self._at(repo, revision)
        siblings = [{"rfilename": path} for path in sorted(repo.files)]
        self._say({"id": name, "sha": repo.sha, "private": repo.private, "siblings": siblings, "tags": []})

    def tree(self, kind: str, name: str, revision: str, under: str | None = None) -> None:
        repo = self._repo(kind, name)
        self._at(repo, revision)
        files = [path for path in sorted(repo.files) if not under or path.startswith(f"{under}/")]
        if under and not files:
            raise _RefusedError(404, f"{under} does not exist", "EntryNotFound")
        folders = {str(one) for path in files for one in PurePosixPath(path).parents} - {".", under}
        if under:  # none above it
            folders = {folder for folder in folders if folder.startswith(f"{under}/")}
        found = [{"type": "directory", "path": folder, "size": 0, "oid": "0" * 40} for folder in sorted(folders)]
        self._say(found + [_described(path, repo.files[path]) for path in files])

    def paths(self, kind: str, name: str, revision: str) -> None:
        repo = self._repo(kind, name)
        self._at(repo, revision)
        wanted = re.findall(r"paths=([^&]*)", self.body.decode())
        known = [unquote(path.replace("+", " ")) for path in wanted]
        self._say([_described(path, repo.files[path]) for path in known if path in repo.files])

    def resolve(self, name: str, revision: str, path: str, kind: str = "model") -> None:
        repo = self._repo(kind, name)
        self._at(repo, revision)
        headers = {"X-Repo-Commit": repo.sha, "Accept-Ranges": "bytes"}
        if path not in repo.files:
            raise _RefusedError(404, "Entry not found", "EntryNotFound")
        content = repo.files[path]
        headers["ETag"] = f'"{_oid(path, content)}"'
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send(content[first : last + 1], 206, headers)
        else:
            self._send(content, 200, headers)

    def resolve_data(self, name: str, revision: str, path: str) -> None:
        self.resolve(name, revision, path, "dataset")

    def _at(self, repo: Repo, revision: str | None) -> None:
        if revision not in (None, "main", repo.sha):
            raise _RefusedError(404, "Invalid rev id", "RevisionNotFound")


def _oid(path: str, content: bytes) -> str:
    """As git names a file, or LFS a large one."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(path: str, content: bytes) -> dict[str, Any]:
    known = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    large = {"oid": _oid(path, content), "size": len(content), "pointerSize": 134}
    return known | ({"lfs": large} if path.endswith(LARGE) else {"oid": _oid(path, content)})


_API = r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES: tuple[tuple[str, Callable[..., None]], ...] = (
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST {_API}/preupload/main", _Handler.preupload),
    (r"POST /(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.upload),
    (r"POST /verify", _Handler.verify),
    (rf"POST {_API}/commit/main", _Handler.commit),
    (rf"GET {_API}(/revision/{_REVISION})?", _Handler.about),
    (rf"GET {_API}/tree/{_REVISION}(/(?P<under>.+))?", _Handler.tree),
    (rf"POST {_API}/paths-info/{_REVISION}", _Handler.paths),
    (rf"GET /datasets/(?P<name>[^/]+/[^/]+)/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve_data),
    (rf"GET /(?P<name>[^/]+/[^/]+)/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
)
