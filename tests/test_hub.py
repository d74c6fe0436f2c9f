"""Models out to a hub and in again, data sets out of it: by the commands, in a process that knows only its address."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from app.db import SessionFactory, session_scope
from app.models import Checkpoint, Prompt
from tests.factories import make_checkpoint, make_run
from tests.hub import Hub, Repo, hub_of
from tests.tiny import save_tiny_model
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.published import publish
from workers.workshop import Workshop

pytestmark = pytest.mark.slow

TOKEN = "hf_ada"
COMMANDS = """
import json, sys
from app.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["prefloop", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            print("said:", end.code)
"""
"""Several commands in one process, for each takes seconds to import what it needs."""
PULLED = """
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from workers.models import ensure_base_model
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
print(ensure_base_model(sys.argv[1], Path(sys.argv[3])))
"""
POSTS = [
    {"post": f"I met dog {n} today.\n\n\n\nIt barked.", "summary": f" Dog {n}.", "id": f"t3_{n}"} for n in range(40)
]
NEWS = [{"body": f"Article {n} is long.", "abstract": f"It is {n}."} for n in range(50)]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_of(ada=TOKEN) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def python(hub: Hub, home: Path, database_url: str, code: str, *words: str, token: str | None = TOKEN) -> str:
    """What a process says that has the hub's variables from its start."""
    known = {"PREFLOOP_HOME": str(home), "PREFLOOP_DATABASE_URL": database_url, "HF_HOME": str(home / "hf")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        env=plain | known | hub.environment(token),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def prefloop(hub: Hub, home: Path, database_url: str, *commands: Sequence[str], token: str | None = TOKEN) -> str:
    return python(hub, home, database_url, COMMANDS, json.dumps(commands), token=token)


def run_with_a_policy(factory: SessionFactory, home: Path) -> str:
    """A run whose newest policy has its files in this home."""
    base = save_tiny_model(home / "tiny")
    policy = Policy(LanguageModel.load(base))
    with torch.no_grad():
        policy.language_model.model.transformer.wte.weight.add_(0.01)
    digest = publish(Workshop(home, threads=1).store, policy, load_tokenizer(base))
    with session_scope(factory) as session:
        run = make_run(session, base_model=str(base), name="posts")
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(base)
        make_checkpoint(session, run, number=7, digest=digest, report={"kl": 4.25})
        return str(run.id)


def test_a_policy_goes_to_the_hub_and_comes_back(
    hub: Hub, home: Path, session_factory: SessionFactory, database_url: str, tmp_path: Path
) -> None:
    out, run_id = tmp_path / "out", run_with_a_policy(session_factory, home)
    asked = ("export-model", str(out), "--run", run_id, "--to", "hf://ada/stories")
    said = prefloop(hub, home, database_url, asked, asked)
    assert "and hf://ada/stories" in said
    assert f"said: {out} is there already" in said
    repo = hub.repos["model", "ada/stories"]
    assert repo.files == {path.name: path.read_bytes() for path in out.iterdir()}
    assert b"4.25 nats per response" in repo.files["README.md"]

    pulled = tmp_path / "pulled"
    folder = python(hub, home, database_url, PULLED, "ada/stories", str(pulled), str(home)).split()[-1]
    assert folder == str(home / "models" / "ada--stories")
    ids = torch.tensor([[2, 14, 5, 20]])
    ours = AutoModelForCausalLM.from_pretrained(out)(ids).logits
    for place in (pulled, folder):
        assert torch.equal(AutoModelForCausalLM.from_pretrained(place)(ids).logits, ours)


def test_a_push_that_is_refused_leaves_the_model_here_and_says_where(
    hub: Hub, home: Path, session_factory: SessionFactory, database_url: str, tmp_path: Path
) -> None:
    run_id = run_with_a_policy(session_factory, home)
    asked = ("export-model", str(tmp_path / "out"), "--run", run_id, "--to", "hf://ada/stories")
    said = prefloop(hub, home, database_url, asked, token=None)
    assert "said: hf://ada/stories needs a token: set HF_TOKEN" in said
    kept = Path(said.strip().rsplit("stays in ", 1)[1].rstrip("."))
    assert AutoModelForCausalLM.from_pretrained(kept)
    assert hub.repos == {}


def test_a_data_set_that_is_refused_in_the_midst_is_told_in_a_sentence_and_imports_nothing(
    hub: Hub, home: Path, session_factory: SessionFactory, database_url: str
) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in POSTS).encode()
    hub.repos["dataset", "ada/posts"] = Repo(private=False, files={"train.jsonl": lines})
    hub.broken["resolve/" + hub.repos["dataset", "ada/posts"].sha + "/train.jsonl"] = 403
    said = prefloop(hub, home, database_url, ("import-prompts", "ada/posts", "--like", "tldr", "--set", "posts"))
    assert "said: The Hugging Face hub does not give ada/posts" in said
    assert "set HF_TOKEN to a token that may read it" in said
    with session_scope(session_factory) as session:
        assert session.scalars(select(Prompt)).all() == []


def test_prompts_stream_out_of_data_sets_of_the_hub(
    hub: Hub, home: Path, session_factory: SessionFactory, database_url: str, tmp_path: Path
) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in POSTS).encode()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(NEWS), tmp_path / "news.parquet")
    news = (tmp_path / "news.parquet").read_bytes()
    hub.repos["dataset", "ada/posts"] = Repo(private=False, files={"train.jsonl": lines, "test.jsonl": lines[:100]})
    hub.repos["dataset", "ada/news"] = Repo(private=True, files={"data/train-00000-of-00001.parquet": news})
    said = prefloop(
        hub,
        home,
        database_url,
        ("import-prompts", "ada/posts", "--like", "tldr", "--set", "posts"),
        ("import-prompts", "ada/news", "--column", "body", "--reference", "abstract", "--set", "news"),
        ("import-prompts", "ada/none", "--set", "none"),
    )
    assert "40 prompts added to posts" in said
    assert "50 prompts added to news" in said
    assert "said: ada/none cannot be read as a data set" in said
    with session_scope(session_factory) as session:
        found = {(one.prompt_set, one.text): one for one in session.scalars(select(Prompt))}
    references = {(name, one.reference) for (name, _), one in found.items()}
    assert references == {("posts", row["summary"]) for row in POSTS} | {("news", row["abstract"]) for row in NEWS}
    assert found["posts", "I met dog 3 today.\n\nIt barked."].info == {"id": "t3_3"}
