"""The site as it is shipped, in a folder of its own, with as many comparisons as asked for."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from app import accounts, embedded, migrating, plant, runs, texts, usable
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.hparams import planned
from app.models import Checkpoint, CheckpointKind, Prompt, Role, Run, Sample, SamplePurpose, Verdict
from app.settings import Settings
from app.supervisor import Supervisor
from app.web.deps import COOKIE

PROGRAMS = ("web", "control", "tick")
"""Of the plant; without a trainer, for there is no model."""
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
PROMPTS = 1000
SHOWN = 4
UNCHECKED = "set local session_replication_role = replica"
"""Rows that are right by their making need not be looked up one by one: a million of them are there in a minute."""
FILL = """
    insert into comparison (id, run_id, prompt_id, policy_id, promotion, purpose, state, wanted, answers, leased,
        trains, created_at)
    select gen_random_uuid(), :run, prompt.id, :policy, 0, 'train', cast(:state as text), :wanted, :answers, 0,
        cast(:state as text) = 'labeled' and prompt.split = 'train',
        now() - make_interval(days => :days, secs => -0.001 * number)
    from generate_series(1, :count) number
    join (select id, split, row_number() over (order by id) - 1 as place from prompt) prompt
        on prompt.place = number % :prompts
    order by number
"""
"""As the site leaves them: those that were answered long ago are settled (`app/settling.py`)."""
MEMBERS = """
    insert into comparison_sample (comparison_id, slot, sample_id)
    select comparison.id, sample.slot, sample.id from comparison
    join (select id, prompt_id, row_number() over (partition by prompt_id order by id) - 1 as slot from sample) sample
        on sample.prompt_id = comparison.prompt_id
"""
ASSIGNED = """
    insert into assignment (id, comparison_id, labeler_id, state, shown, expires_at, created_at)
    select uuidv7(), comparison.id, :labeler, 'answered',
        (select array_agg(sample_id order by slot) from comparison_sample where comparison_id = comparison.id),
        created_at, created_at
    from comparison where state = 'labeled'
"""
LABELED = """
    insert into label (id, comparison_id, labeler_id, assignment_id, revision, verdict, chosen_sample_id,
        idempotency_key, milliseconds, surplus, created_at)
    select uuidv7(), comparison_id, labeler_id, id, 1, 'best', shown[1], id::text, 4000, false, created_at
    from assignment
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running site."""

    host: str
    port: int
    engine: Engine
    factory: SessionFactory
    supervisor: Supervisor


@contextmanager
def running(home: Path) -> Iterator[Site]:
    """Servers, web and workers; everything is stopped at the end."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # PostgreSQL runs as another user where this one is root
    settings = embedded.with_urls(Settings(home=home, host="127.0.0.1", port=free_port()))
    postgres, valkey = embedded.servers(home)
    supervisor = Supervisor(home / "logs", print)
    try:
        for name, server in (("postgres", postgres), ("valkey", valkey)):
            server.prepare()
            supervisor.start(server.child())
            supervisor.wait(name, server.is_ready)
        postgres.ensure_database()
        engine = make_engine(settings.need_owner_url(), pool_size=1)
        migrating.upgrade(engine)
        migrating.let_in(engine, settings.need_database_url())
        plant.clear_figures(settings)
        for child in plant.children(settings):
            if child.name in PROGRAMS:
                supervisor.start(child)
        supervisor.wait("web", lambda: _answers(settings))
        factory = make_session_factory(engine)
        require_durable(factory)
        yield Site(host=settings.host, port=settings.port, engine=engine, factory=factory, supervisor=supervisor)
        engine.dispose()
    finally:
        supervisor.stop(PROGRAMS)
        supervisor.stop()


def require_durable(factory: SessionFactory) -> None:
    """Raises: AssertionError unless a commit that was answered survives a power cut."""
    with session_scope(factory) as session:
        found = {name: session.scalar(text(f"show {name}")) for name in DURABLE}
    assert found == DURABLE, f"PostgreSQL does not run as shipped: {found}"


def fill(site: Site, *, total: int, ready: int, wanted: int) -> UUID:
    """A run with `ready` free comparisons, each for `wanted` people, and the rest of `total` answered long ago."""
    with session_scope(site.factory) as session:
        run, policy = make_run(session)
        session.execute(text(UNCHECKED))
        common = {"run": run.id, "policy": policy.id, "prompts": PROMPTS}
        closed = {"state": "labeled", "wanted": 1, "answers": 1, "count": total - ready, "days": 2}
        session.execute(text(FILL), common | closed)
        waiting = {"state": "ready", "wanted": wanted, "answers": 0, "count": ready, "days": 1}
        session.execute(text(FILL), common | waiting)
        session.execute(text(MEMBERS))
        session.execute(text(ASSIGNED), {"labeler": accounts.create_account(session, "earlier", Role.LABELER).id})
        session.execute(text(LABELED))
    with site.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for command in ("vacuum analyze", "checkpoint"):
            connection.execute(text(command))
    with session_scope(site.factory) as session:
        settled = usable.count_training(session, run.id)
        labels = session.scalar(
            select(func.count()).select_from(usable.training_labels(run.id, (Verdict.BEST,)).subquery())
        )
        assert settled == labels, "comparisons are settled wrongly"
    return run.id


def signed_in(site: Site, count: int) -> list[str]:
    """Header lines with the cookies of new labelers."""
    with session_scope(site.factory) as session:
        people = [accounts.create_account(session, f"labeler {number}", Role.LABELER) for number in range(count)]
        return [f"Cookie: {COOKIE}={accounts.open_session(session, one.id, days=1)}" for one in people]


def require_sound(site: Site, labels: Sequence[str]) -> None:
    """Raises: AssertionError if a label that was answered is missing, or one too many or twice by one person counts."""
    with session_scope(site.factory) as session:
        answered = "select count(*) from label where id = any(cast(:ids as uuid[]))"
        assert session.scalar(text(answered), {"ids": list(labels)}) == len(labels), "labels are missing"
        doubled = (
            "select count(*) from (select 1 from label group by comparison_id, labeler_id having count(*) > 1) twice"
        )
        assert session.scalar(text(doubled)) == 0, "a comparison was answered twice by one person"
        off = """
            select count(*) from comparison where answers > wanted or answers <>
            (select count(*) from label where comparison_id = comparison.id and not surplus)
        """
        assert session.scalar(text(off)) == 0, "comparisons have more answers than wanted, or count them wrongly"


def make_run(session: Session) -> tuple[Run, Checkpoint]:
    """A run that never has labels enough, with texts of the length of the small presets'."""
    words = "the door at the end of the long corridor stood open, and the light behind it went"
    prompts = [_prompt(f"Story {number}: {words}") for number in range(PROMPTS)]
    session.add_all(prompts)
    session.flush()
    hparams = planned("sentiment-small", {"schedule": {"total_labels": 1_000_000, "outstanding": 1_000_000}})
    run = runs.create(session, name="load", base_model="none", hparams=hparams, actor_id=None)
    policy = Checkpoint(run_id=run.id, kind=CheckpointKind.REFERENCE, digest="none", number=0)
    session.add(policy)
    session.flush()
    run.reference_id = run.serving_id = policy.id
    session.add_all(_sample(run, policy, prompt, place) for prompt in prompts for place in range(SHOWN))
    session.flush()
    return run, policy


def _prompt(words: str) -> Prompt:
    digest = texts.digest_of(words)
    return Prompt(prompt_set="stories", text=words, digest=digest, split=texts.split_of(digest))


def _sample(run: Run, policy: Checkpoint, prompt: Prompt, place: int) -> Sample:
    return Sample(
        run_id=run.id,
        prompt_id=prompt.id,
        policy_id=policy.id,
        purpose=SamplePurpose.COMPARISON,
        text=f" out at last, and number {place} of the four who waited there laughed as if a bell had rung for her.",
        token_ids=list(range(24)),
        logprobs=[-2.0] * 24,
        kept_tokens=24,
        valid=True,
        temperature=0.7,
        seed=0,
    )


def _answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"http://{settings.host}:{settings.port}/health/live", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
