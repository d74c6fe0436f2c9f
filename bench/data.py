"""Time and peak memory of importing many prompts and exporting many labels, each in a process of its own.

    python -m bench data --prompts 100000 --labels 1000000 --forms jsonl

PostgreSQL is started in a temporary folder, without waiting for the disk.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from app import migrating
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.embedded import Postgres
from app.hparams import preset
from app.models import Account, Checkpoint, CheckpointKind, Role, Run
from app.supervisor import Supervisor

WORDS = (
    *("the", "a", "one", "old", "young", "river", "house", "door", "light", "morning"),
    *("storm", "garden", "ship", "window", "letter", "road", "stone", "voice", "bread"),
)
TOKENS, QUADRUPLE = 24, 4
FORMS = ("jsonl", "parquet", "pairs")


def main() -> None:
    """Measure, and print one line per figure."""
    parser = argparse.ArgumentParser(prog="python -m bench data", description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS, help="of the exported labels")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as name, database(Path(name)) as (url, factory):
        home = Path(name) / "home"
        for form in ("jsonl", "csv"):
            if asked.prompts:
                rows = written(Path(name) / f"prompts.{form}", asked.prompts)
                say(f"import of {asked.prompts:,} prompts ({form})", child("import", url, home, rows))
        if asked.labels:
            begun = time.monotonic()
            run_id = fill(factory, asked.labels)
            print(f"{asked.labels:,} labels made in {time.monotonic() - begun:.0f} s", flush=True)
            for form in asked.forms:
                say(f"export of {asked.labels:,} labels ({form})", child("export", url, home, run_id, form))


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, SessionFactory]]:
    """A migrated database of its own."""
    folder.chmod(0o711)
    server, supervisor = Postgres(data=folder / "postgres", durable=False), Supervisor(folder / "logs", print)
    server.prepare()
    supervisor.start(server.child())
    try:
        supervisor.wait("postgres", server.is_ready)
        server.ensure_database("bench")
        engine = make_engine(server.url("bench"), pool_size=2)
        migrating.upgrade(engine)
        yield server.url("bench"), make_session_factory(engine)
        engine.dispose()
    finally:
        supervisor.stop()


def written(path: Path, count: int) -> Path:
    """A file of different texts of some forty words."""
    rng = random.Random(0)
    with path.open("w") as file:
        if path.suffix == ".csv":
            file.write("text\n")
        for number in range(count):
            words = f"{number} {' '.join(rng.choices(WORDS, k=40))}."
            file.write(f'"{words}"\n' if path.suffix == ".csv" else json.dumps({"text": words}) + "\n")
    return path


def fill(factory: SessionFactory, labels: int) -> str:
    """A run with so many labeled comparisons of four samples, made within the database."""
    with session_scope(factory) as session:
        run = Run(name="bench", base_model="none", hparams=preset("sentiment").model_dump(mode="json"))
        session.add(run)
        session.flush()
        reference = Checkpoint(run_id=run.id, kind=CheckpointKind.REFERENCE, digest="none", number=0)
        labeler = Account(name="bench", role=Role.LABELER)
        session.add_all([reference, labeler])
        session.flush()
        run.reference_id = run.serving_id = reference.id
        known = {"run": run.id, "reference": reference.id, "labeler": labeler.id, "n": labels}
        for statement in FILLING:
            session.execute(text(statement), known)
    with session_scope(factory) as session:
        session.execute(text("analyze"))
    return str(known["run"])


def _uuid(kind: str, number: str) -> str:
    return f"md5('{kind}' || {number})::uuid"


FILLING = (
    f"insert into prompt (id, prompt_set, text, digest, split) select {_uuid('prompt', 'i')}, 'bench', "
    "'The old house stood at the end of road ' || i, md5('p' || i), 'train' from generate_series(1, :n) i",
    f"insert into sample (id, run_id, prompt_id, policy_id, purpose, text, token_ids, logprobs, kept_tokens, valid, "
    f"temperature, seed, rejected) select {_uuid('sample', 'i')}, :run, {_uuid('prompt', '((i - 1) / 4 + 1)')}, "
    f":reference, 'comparison', ' and nobody had opened its door for ' || i || ' years.', "
    f"array_fill(1234, array[{TOKENS}]), array_fill(-1.5::float8, array[{TOKENS}]), {TOKENS}, true, 0.7, 1, 0 "
    f"from generate_series(1, {QUADRUPLE} * :n) i",
    f"insert into comparison (id, run_id, prompt_id, policy_id, promotion, purpose, state, wanted, answers, leased) "
    f"select {_uuid('comparison', 'i')}, :run, {_uuid('prompt', 'i')}, :reference, 0, 'train', 'labeled', 1, 1, 0 "
    "from generate_series(1, :n) i",
    f"insert into assignment (id, comparison_id, labeler_id, state, shown, expires_at) select "
    f"{_uuid('assignment', 'i')}, {_uuid('comparison', 'i')}, :labeler, 'answered', "
    f"array[{', '.join(_uuid('sample', f'(4 * i - {back})') for back in range(QUADRUPLE))}], now() "
    "from generate_series(1, :n) i",
    f"insert into label (id, comparison_id, labeler_id, assignment_id, revision, verdict, chosen_sample_id, "
    f"idempotency_key, milliseconds, surplus) select {_uuid('label', 'i')}, {_uuid('comparison', 'i')}, :labeler, "
    f"{_uuid('assignment', 'i')}, 1, 'best', {_uuid('sample', '(4 * i - 2)')}, 'key ' || i, 4000, false "
    "from generate_series(1, :n) i",
)


def child(what: str, *words: object) -> dict[str, float]:
    """Figures of one piece of work in a fresh process."""
    command = [sys.executable, "-m", "bench._data", what, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def say(what: str, figures: dict[str, float]) -> None:
    """One line."""
    print(
        f"{what}: {figures['seconds']:.1f} s ({figures['cpu_seconds']:.1f} s of its own processor time), peak "
        f"{figures['peak_mb']:.0f} MB, {figures['start_mb']:.0f} of them before it began; {figures['count']:.0f} rows",
        flush=True,
    )


if __name__ == "__main__":
    main()
