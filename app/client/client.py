"""The client itself: a method per thing the API can do."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import UUID, uuid4

from pydantic import TypeAdapter

from app.client.transport import Transport
from app.client.types import (
    Andon,
    Checkpoint,
    Job,
    Labeler,
    Lease,
    Leases,
    Me,
    Person,
    Recorded,
    Run,
    Series,
    Token,
)
from app.errors import UnavailableError

Id = UUID | str
Kind = TypeVar("Kind")

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 1.0
"""Between two looks at something that takes its time."""
ENDED_RUN = ("finished", "stopped")
OPEN_JOB = ("queued", "running")


class Client:
    """A Prefloop site, as one account sees it; used by one thread at a time.

    Args:
        url: of the site.
        token: an API token; what its scopes and its account's role forbid is a ForbiddenError.
        patience_seconds: how long a request is tried while the server does not answer.
    """

    def __init__(self, url: str, token: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.transport = Transport(url=url, token=token, patience_seconds=patience_seconds)

    def close(self) -> None:
        """Drop the connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def me(self) -> Me:
        """Whose token this is."""
        return _read(Me, self._get("/me"))

    def runs(self) -> tuple[Run, ...]:
        """All runs, newest first."""
        return _many(Run, self._get("/runs")["runs"])

    def run(self, run: Id) -> dict[str, Any]:
        """State, counters, current checkpoints and jobs of a run, as the API tells them."""
        found: dict[str, Any] = self._get(f"/runs/{run}")
        return found

    def create_run(self, name: str, base_model: str, *, preset: str, hparams: Mapping[str, Any] | None = None) -> Run:
        """Start a run from a preset; `hparams` changes it, nested as in the run's own."""
        body = {"name": name, "base_model": base_model, "preset": preset, "hparams": dict(hparams or {})}
        return _read(Run, self._post("/runs", body))

    def clone_run(
        self, run: Id, name: str, *, base_model: str | None = None, hparams: Mapping[str, Any] | None = None
    ) -> Run:
        """Start a run with the settings of another, changed by `hparams`."""
        body = {"name": name, "base_model": base_model, "hparams": dict(hparams or {})}
        return _read(Run, self._post(f"/runs/{run}/clone", body))

    def compare_runs(self, *runs: Id) -> dict[str, Any]:
        """How far runs came, and the settings in which they differ, as the API tells them."""
        found: dict[str, Any] = self._get("/runs/compare", params={"run": [str(run) for run in runs]})
        return found

    def pause(self, run: Id, note: str = "") -> Run:
        """Start nothing new."""
        return _read(Run, self._post(f"/runs/{run}/pause", {"note": note}))

    def resume(self, run: Id, note: str = "") -> Run:
        """Go on."""
        return _read(Run, self._post(f"/runs/{run}/resume", {"note": note}))

    def stop(self, run: Id, note: str = "") -> Run:
        """End a run for good."""
        return _read(Run, self._post(f"/runs/{run}/stop", {"note": note}))

    def finish(self, run: Id, note: str = "") -> Run:
        """End a run as one that has done enough."""
        return _read(Run, self._post(f"/runs/{run}/finish", {"note": note}))

    def roll_back(self, run: Id, checkpoint: Id, note: str = "") -> Run:
        """Let PPO go on from an earlier policy or the reference."""
        return _read(Run, self._post(f"/runs/{run}/rollback", {"checkpoint": str(checkpoint), "note": note}))

    def leases(self, run: Id, count: int = 1) -> Leases:
        """Comparisons to label: those you hold, then new ones."""
        return _read(Leases, self.transport.call("POST", f"/runs/{run}/leases", body={"count": count}))

    def comparisons(self, run: Id, *, wait: bool = True) -> Iterator[Lease]:
        """Comparisons one after the other, each to be answered, skipped or flagged before the next is asked for.

        Args:
            wait: for more while the run goes on; False: end when there is none just now.
        """
        while True:
            held = self.leases(run).leases
            if held:
                yield held[0]
            elif not wait or self._has_ended(run):
                return
            else:
                time.sleep(LOOK_SECONDS)

    def answer(
        self,
        comparison: Id,
        verdict: str,
        choice: Id | None = None,
        *,
        key: str | None = None,
        **more: Any,
    ) -> Recorded:
        """Answer a comparison; it counts once, whatever is lost on the way.

        Args:
            verdict: `best` (with the chosen sample's id), `tie`, `none` or `skip`.
            key: the same for the same answer, also of a process that starts anew; None: a fresh one.
            more: `reason`, `strength`, `milliseconds`, `answers`.
        """
        body = {"verdict": verdict, "choice": None if choice is None else str(choice), **more}
        made = self.transport.call("POST", f"/comparisons/{comparison}/labels", body=body, key=key or str(uuid4()))
        return _read(Recorded, made)

    def undo(self, label: Id) -> Lease:
        """Take your answer back; the comparison returns to you."""
        return _read(Lease, self.transport.call("DELETE", f"/labels/{label}")["lease"])

    def flag(self, comparison: Id, reason: str) -> None:
        """Take a comparison out of the queue for a researcher to see."""
        self.transport.call("POST", f"/comparisons/{comparison}/flag", body={"reason": reason})

    def pull_cord(self, run: Id, reason: str) -> Andon:
        """Stop PPO and promotion within one update; while it is pulled, pulling again changes nothing."""
        return _read(Andon, self.transport.call("POST", f"/runs/{run}/andon", body={"reason": reason}))

    def release_cord(self, run: Id, note: str = "") -> Andon:
        """Let the run go on."""
        return _read(Andon, self.transport.call("DELETE", f"/runs/{run}/andon", body={"note": note}, once=True))

    def metrics(self, run: Id, names: Sequence[str], *, points: int = 500) -> dict[str, Series]:
        """Curves by name, down-sampled to at most `points` each."""
        found = self._get(f"/runs/{run}/metrics", params={"name": list(names), "points": points})
        return {series.name: series for series in _many(Series, found["series"])}

    def labels(self, run: Id, form: str = "jsonl") -> Iterator[dict[str, Any]]:
        """Exported labels, one by one as they arrive: `jsonl`, `best_of_4` or `pairs`."""
        with self.transport.lines(f"/runs/{run}/labels", params={"format": form}) as lines:
            for line in lines:
                yield json.loads(line)

    def checkpoints(self, run: Id) -> tuple[Checkpoint, ...]:
        """A run's checkpoints, newest first."""
        return _many(Checkpoint, self._get(f"/runs/{run}/checkpoints")["checkpoints"])

    def checkpoint(self, checkpoint: Id) -> dict[str, Any]:
        """A checkpoint and those it came from, as the API tells them."""
        found: dict[str, Any] = self._get(f"/checkpoints/{checkpoint}")
        return found

    def generate(self, checkpoint: Id, prompt: str, count: int = 4) -> Job:
        """Let a checkpoint continue a prompt; `wait_for` the job to have its samples."""
        made = self._post("/generate", {"checkpoint": str(checkpoint), "prompt": prompt, "count": count})
        return self.job(made["job"])

    def job(self, job: Id) -> Job:
        """Where a job stands."""
        return _read(Job, self._get(f"/jobs/{job}"))

    def wait_for(self, job: Id, seconds: float = 600.0) -> Job:
        """A job once it has ended, well or not. Raises: UnavailableError if it takes longer."""
        until = time.monotonic() + seconds
        while (found := self.job(job)).state in OPEN_JOB:
            if time.monotonic() > until:
                raise UnavailableError(f"The job {job} is still {found.state} after {seconds:.0f} seconds.")
            time.sleep(LOOK_SECONDS)
        return found

    def create_labeler(self, name: str) -> Labeler:
        """A new labeler, with an API token and a one-time sign-in link."""
        return _read(Labeler, self._post("/labelers", {"name": name}))

    def people(self) -> tuple[Person, ...]:
        """Everybody with an account."""
        return _many(Person, self._get("/people")["people"])

    def change_person(self, account: Id, **change: Any) -> Person:
        """Give somebody another `role`, or set `disabled`."""
        return _read(Person, self.transport.call("PATCH", f"/people/{account}", body=change))

    def invite(self, role: str = "labeler", *, uses: int = 1, days: int | None = None) -> str:
        """A link by which so many people can join."""
        return str(self._post("/invitations", {"role": role, "uses": uses, "days": days})["link"])

    def tokens(self) -> tuple[Token, ...]:
        """Your tokens that work, newest first."""
        return _many(Token, self._get("/me/tokens")["tokens"])

    def create_token(self, name: str, scopes: Sequence[str], *, days: int | None = 90) -> str:
        """The secret of a new token of yours; it may no more than the one you use."""
        return str(self._post("/me/tokens", {"name": name, "scopes": list(scopes), "days": days})["token"])

    def revoke_token(self, token: Id) -> None:
        """Make a token of yours worthless."""
        self.transport.call("DELETE", f"/me/tokens/{token}", once=True)

    def _has_ended(self, run: Id) -> bool:
        phases = [one.phase for one in self.runs() if str(one.id) == str(run)]
        return not phases or phases[0] in ENDED_RUN

    def _get(self, path: str, params: Any = None) -> Any:
        return self.transport.call("GET", path, params=params)

    def _post(self, path: str, body: Any) -> Any:
        return self.transport.call("POST", path, body=body, once=True)


def _read(kind: type[Kind], body: Any) -> Kind:
    adapter: TypeAdapter[Kind] = _adapter(cast(Any, kind))
    return adapter.validate_python(body)


def _many(kind: type[Kind], bodies: Any) -> tuple[Kind, ...]:
    return tuple(_read(kind, body) for body in bodies)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
