"""From rows, or from prompts and a score, to a folder that a run can start from."""

import fcntl
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from app.errors import ConflictError, InvalidError
from app.hparams import RewardHead, SupervisedHParams, TaskHParams, planned, preset
from app.kinds import Split
from app.rules import Score
from app.texts import digest_of, split_of
from tests.tiny import WORDS, save_tiny_model
from workers.cli import app
from workers.distillation import CHUNK, BestOfTexts, TextScorer, prompts_to_learn
from workers.finetune import LOCK, REPORT, WORK, Asked, finetune
from workers.models import ensure_base_model, weights_digest
from workers.plans import LabeledComparison, PolicyFiles, RewardPlan
from workers.references import Reference
from workers.steps import Steps
from workers.supervised import Moment
from workers.supervised_data import Row
from workers.workshop import Workshop

HPARAMS = SupervisedHParams(rates=2, lowest_rate=3e-3, highest_rate=1e-2, batch=8, epochs=2, max_tokens=32)
TASK = TaskHParams(question="?", response_tokens=6, min_terminator_index=2)
ENDLESS = TASK.model_copy(update={"terminator": None})
"""Takes every text: the tiny tokenizer does not know a last word with its full stop again."""
PROMPTS = tuple(f"{a} was {b}" for a in WORDS[:5] for b in WORDS[5:13])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def rows() -> list[Row]:
    return [Row(where="here", prompt=prompt, text="happy happy sun") for prompt in PROMPTS]


def asked(model: Path, given: list[Row] | BestOfTexts) -> Asked:
    return Asked(base_model=model, rows=given, task=TASK, hparams=HPARAMS, seed=1)


def happy(prompt: str, text: str) -> float:
    assert prompt in PROMPTS
    return float(text.count("happy"))


def homely(prompt: str, text: str) -> float:  # noqa: ARG001
    """Share of four words, so that a few texts can teach it."""
    words = text.rstrip(".").split()
    return sum(word in ("home", "door", "sun", "happy") for word in words) / max(1, len(words))


def best_of(model: Path, n: int, score: Score = happy, task: TaskHParams = TASK) -> BestOfTexts:
    reference = Reference.load(model)
    return BestOfTexts(
        reference=reference,
        scorer=TextScorer(score=score, decoder=reference.tokenizer),
        judge="happy",
        n=n,
        prompts=PROMPTS,
        task=task,
        seed=1,
        bf16=False,
    )


def quiet(*_: object) -> None:
    """Hears and says nothing."""


def run(
    folder: Path, asked: Asked, *, told: Callable[[Moment], None] = quiet, written: Callable[[int, int], None] = quiet
) -> dict[str, Any]:
    return finetune(folder, asked, device=torch.device("cpu"), bf16=False, told=told, written=written, seconds=0)


def loss_by_transformers(folder: Path) -> float:
    """Nats per token of the references that stand after prompts of the valid split, the end among them."""
    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    losses: list[float] = []
    for row in rows():
        if split_of(digest_of(row.prompt or "")) is Split.VALID:
            query, response = tokenizer(row.prompt).input_ids, [*tokenizer(row.text).input_ids, tokenizer.eos_token_id]
            logprobs = model.eval()(torch.tensor([query + response])).logits[0].log_softmax(dim=-1)
            losses += [-logprobs[len(query) + t - 1, token].item() for t, token in enumerate(response)]
    return sum(losses) / len(losses)


def test_the_folder_is_a_base_model_of_runs(tmp_path: Path, model: Path) -> None:
    report = run(tmp_path / "out", asked(model, rows()))
    assert ensure_base_model(str(tmp_path / "out"), tmp_path) == tmp_path / "out"
    assert report["best"]["held_out_loss"] == pytest.approx(loss_by_transformers(tmp_path / "out"), rel=1e-4)
    assert report["base_held_out_loss"] == pytest.approx(loss_by_transformers(model), rel=1e-4)
    assert report["best"]["held_out_loss"] < 0.7 * report["base_held_out_loss"]
    assert json.loads((tmp_path / "out" / REPORT).read_text()) == report
    assert not (tmp_path / "out" / WORK).exists()
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".safetensors"}
    assert begins_ppo(tmp_path / "out")


def begins_ppo(folder: Path) -> bool:
    """Whether a run may start there: the task fits, and an update finds the policy where its reference is."""
    assert Workshop(folder.parent / "home").prepare(str(folder), ENDLESS) == weights_digest(folder)
    guards = {"entropy_floor": 0.0, "sign_check": None}  # it says hardly anything but what it learned
    ppo = {"batch": 8, "micro_batch": 8, "episodes": 8, "guards": guards}
    steps = Steps(Reference.load(folder), planned("sentiment-small", {"ppo": ppo, "task": {"terminator": None}}))
    stats = steps.update(steps.sample(PROMPTS[:8]), [float(n) for n in range(8)])
    return abs(stats["objective/kl"]) < 1e-3 and stats["ppo/policy/approxkl"] > 0


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moments", [1, 9, 16])
def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path: Path, model: Path, moments: int) -> None:
    heard: list[Moment] = []

    def kill(moment: Moment) -> None:
        heard.append(moment)
        if len(heard) == moments:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "killed", asked(model, rows()), told=kill)
    with pytest.raises(ConflictError, match="other settings"):
        run(tmp_path / "killed", replace(asked(model, rows()), seed=2))
    reports = [run(tmp_path / name, asked(model, rows())) for name in ("killed", "whole")]
    assert reports[0] == reports[1]
    assert weights_digest(tmp_path / "killed") == weights_digest(tmp_path / "whole")


def test_what_is_not_ones_own_is_left_alone(tmp_path: Path, model: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("long")
    with pytest.raises(ConflictError, match="not empty"):
        run(tmp_path / "other", asked(model, rows()))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    with pytest.raises(ConflictError, match="is a file"):
        run(tmp_path / "other" / "thesis.txt", asked(model, rows()))


def test_two_do_not_work_in_one_folder(tmp_path: Path, model: Path) -> None:
    (tmp_path / "out" / WORK).mkdir(parents=True)
    with (tmp_path / "out" / WORK / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="Another process"):
            run(tmp_path / "out", asked(model, rows()))


def test_no_rows_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InvalidError, match="no rows"):
        run(tmp_path / "out", asked(model, []))


class TestBestOf:
    def test_the_more_to_choose_from_the_higher_the_score(self, tmp_path: Path, model: Path) -> None:
        means = []
        for n in (1, 4, 16):
            (tmp_path / str(n)).mkdir()
            found = best_of(model, n).write(tmp_path / str(n), quiet)
            assert {row.prompt for row in found} <= set(PROMPTS)
            means.append(sum(happy(row.prompt or "", row.text) for row in found) / len(found))
        assert means[0] < means[1] < means[2]

    def test_a_kill_between_and_within_chunks_loses_nothing(self, tmp_path: Path, model: Path) -> None:
        texts = best_of(model, 2)
        (whole := tmp_path / "whole").mkdir()
        (cut := tmp_path / "cut").mkdir()
        expected = [(row.prompt, row.text) for row in texts.write(whole, quiet)]
        lines = (whole / "best_of_n.jsonl").read_bytes().splitlines(keepends=True)
        (cut / "best_of_n.jsonl").write_bytes(b"".join(lines[: CHUNK + 3]) + lines[CHUNK + 3][:5])
        heard: list[tuple[int, int]] = []
        assert [(row.prompt, row.text) for row in texts.write(cut, lambda *said: heard.append(said))] == expected
        assert heard == [(2 * CHUNK, 40), (40, 40)]
        assert (cut / "best_of_n.jsonl").read_bytes() == b"".join(lines)

    def test_it_becomes_a_model_that_scores_higher_than_its_base(self, tmp_path: Path, model: Path) -> None:
        report = run(tmp_path / "out", replace(asked(model, best_of(model, 16, homely, ENDLESS)), task=ENDLESS))
        assert report["kl_bound"] == pytest.approx(1.835, abs=1e-3)  # ln 16 - 15/16
        base, tuned = self.mean(model, tmp_path / "of_base"), self.mean(tmp_path / "out", tmp_path / "of_tuned")
        assert tuned > 1.5 * base
        assert begins_ppo(tmp_path / "out")

    @staticmethod
    def mean(folder: Path, samples: Path, rounds: int = 5) -> float:
        """Score of a valid sample, over several rounds of one per prompt."""
        written: list[Row] = []
        for seed in range(rounds):
            (kept := samples / str(seed)).mkdir(parents=True)
            written += replace(best_of(folder, 1, homely, ENDLESS), seed=seed).write(kept, quiet)
        return sum(homely(row.prompt or "", row.text) for row in written) / len(written)

    def test_nothing_of_the_test_split_is_learned(self) -> None:
        kept = prompts_to_learn([*PROMPTS, PROMPTS[0].upper()])
        assert {split_of(digest_of(prompt)) for prompt in PROMPTS} == set(Split)
        assert {split_of(digest_of(prompt)) for prompt in kept} == {Split.TRAIN, Split.VALID}
        assert len(kept) == sum(split_of(digest_of(prompt)) is not Split.TEST for prompt in PROMPTS)
        assert len({prompt.lower() for prompt in kept}) == len(kept)


def reward_plan(model: Path) -> RewardPlan:
    """Six labels: the longer of two."""
    reward = {"heads": (RewardHead(),), "normalization_samples": 8}
    small = preset("sentiment-small")
    labeled = (
        LabeledComparison(
            label_id=uuid4(),
            prompt_id=uuid4(),
            prompt=prompt,
            sample_ids=(uuid4(), uuid4()),
            responses=((2 + i, 3, 18), (4 + i, 18)),
            target=(1.0, 0.0),
        )
        for i, prompt in enumerate(PROMPTS[:6])
    )
    return RewardPlan(
        reference=PolicyFiles(
            checkpoint_id=uuid4(), base_model=str(model), reference_digest=weights_digest(model), digest=None
        ),
        hparams=small.model_copy(update={"reward": small.reward.model_copy(update=reward)}),
        train=tuple(labeled),
        valid=(),
        normalization_prompts=PROMPTS,
        seed=1,
    )


class TestCommand:
    def invoked(self, home: Path, *words: str) -> Any:
        runner = CliRunner()
        return runner.invoke(
            app, ["finetune", *words], env={"PREFLOOP_HOME": str(home), "PREFLOOP_TRAINER_THREADS": "1"}
        )

    def test_rows_of_a_file(self, tmp_path: Path, model: Path) -> None:
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps({"prompt": row.prompt, "reference": row.text}) + "\n" for row in rows()))
        few = ["--set", "supervised.rates=1", "--set", "supervised.lowest_rate=1e-2", "--set"]
        done = self.invoked(
            tmp_path,
            *("--model", str(model), "--data", str(data), "--out", str(tmp_path / "out")),
            *(*few, "supervised.highest_rate=1e-2"),
        )
        assert done.exit_code == 0, done.output
        assert "held-out loss" in done.output
        assert "model.safetensors" in {path.name for path in (tmp_path / "out").iterdir()}

    def test_the_best_of_some(self, tmp_path: Path, model: Path) -> None:
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("\n".join(PROMPTS))
        done = self.invoked(
            tmp_path,
            *("--model", str(model), "--best-of", "4", "--judge", "longest", "--prompts", str(prompts)),
            *("--out", str(tmp_path / "out"), "--set", "supervised.rates=1"),
            *("--set", "task.min_terminator_index=0"),
        )
        assert done.exit_code == 0, done.output
        assert "at most 0.64 nats" in done.output  # ln 4 - 3/4
        assert json.loads((tmp_path / "out" / REPORT).read_text())["setup"]["supervised"]["end_token"] is False

    def test_a_reward_model_picks(self, tmp_path: Path, model: Path) -> None:
        (prompts := tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
        workshop = Workshop(tmp_path)
        digest, _ = workshop.fit_reward(reward_plan(model))
        words = ["--model", str(model), "--best-of", "3", "--prompts", str(prompts), "--set", "supervised.rates=1"]
        done = self.invoked(tmp_path, *words, "--judge", digest, "--out", str(tmp_path / "out"))
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / "out" / REPORT).read_text())["setup"]["rows"]["judge"] == digest
        other = workshop.store.save("policy", {"model": {"a": torch.zeros(1)}}, {})
        wrong = self.invoked(tmp_path, *words, "--judge", other, "--out", str(tmp_path / "new"))
        assert "is a policy" in str(wrong.exception)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "either --data"),
            (["--data", "a", "--best-of", "2"], "either --data"),
            (["--data", "a", "--prompts", "b"], "--prompts are for"),
            (["--data", "none.jsonl"], "none.jsonl"),
            (["--best-of", "2", "--set", "supervised.rates=0"], "supervised.rates"),
            (["--best-of", "2", "--judge", "nobody"], "nobody"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, model: Path, words: list[str], said: str) -> None:
        done = self.invoked(tmp_path, "--model", str(model), "--out", str(tmp_path / "out"), *words)
        assert isinstance(done.exception, InvalidError)
        assert said in str(done.exception)
        assert not (tmp_path / "out").exists()
