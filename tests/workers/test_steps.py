"""PPO from a script, on a tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest
import structlog
import torch
from structlog.testing import capture_logs
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.hparams import RunHParams, planned
from tests.tiny import save_tiny_model
from workers.references import Reference
from workers.steps import Samples, Steps

ROOT = Path(__file__).parents[2]
TEXTS = ["the sun was", "she was happy and", "he", "a door to home", "it was"]


def hparams(**ppo: object) -> RunHParams:
    small = {"batch": 16, "micro_batch": 8, "episodes": 160, "learning_rate": 1e-2, "kl_coef": 0.01, "kl_target": None}
    return planned("sentiment-small", {"ppo": {**small, **ppo}})


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return Reference.load(save_tiny_model(tmp_path / "model"))


def happy(prompt: str, text: str) -> float:  # noqa: ARG001 - part of the call
    return float(text.count("happy"))


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in model.parameters()])


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    model, out = save_tiny_model(tmp_path / "model"), tmp_path / "tuned"
    command = [sys.executable, "examples/any_reward.py", str(model), str(out), "2"]
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("score ") for line in done.stdout.splitlines()) == 2
    tuned, base = (AutoModelForCausalLM.from_pretrained(one) for one in (out, model))
    assert not torch.equal(weights(tuned), weights(base))
    assert (
        AutoTokenizer.from_pretrained(out)("she was").input_ids
        == AutoTokenizer.from_pretrained(model)("she was").input_ids
    )


def test_any_reward_rises(reference: Reference) -> None:
    fast = {"batch": 64, "micro_batch": 64, "episodes": 640, "learning_rate": 3e-2, "epochs": 4, "frozen_layers": 0.0}
    steps = Steps(reference, hparams(**fast))
    scores = []
    for prompts in steps.batches(TEXTS):
        samples = steps.sample(prompts)
        scores.append(sum(samples.scores(happy)) / 64)
        steps.update(samples, samples.scores(happy))
    assert len(scores) == 10
    assert sum(scores[-3:]) > 1.5 * sum(scores[:3]), scores


def test_what_is_saved_is_what_was_trained(reference: Reference, tmp_path: Path) -> None:
    steps = Steps(reference, hparams(episodes=16))
    before = weights(reference.policy).clone()
    samples = steps.sample(next(steps.batches(TEXTS)))
    steps.update(samples, samples.scores(happy))
    steps.save(tmp_path / "tuned")
    again = Reference.load(tmp_path / "tuned")
    ids, mask = again.encode(TEXTS, steps.hparams.task)
    responses = samples.sampled.responses[:5]
    trained, read = (policy(ids, mask, responses, temperature=0.7) for policy in (steps.trainer.policy, again.policy))
    assert torch.equal(trained.logprobs, read.logprobs)
    assert torch.equal(weights(reference.policy), before)


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("network", ["shared", "separate"])
def test_other_families_are_trained_and_open_with_transformers(tmp_path: Path, family: str, network: str) -> None:
    """Two whole updates under all guards, the signs of the gradient among them; half of the layers are frozen."""
    reference = Reference.load(save_tiny_model(tmp_path / "model", family=family))
    steps = Steps(reference, hparams(episodes=32, frozen_layers=0.5, value_network=network))
    stats = []
    for prompts in steps.batches(TEXTS):
        samples = steps.sample(prompts)
        stats.append(steps.update(samples, samples.scores(happy)))
    assert len(stats) == 2
    assert stats[0]["objective/kl"] == pytest.approx(0, abs=1e-4) != stats[1]["objective/kl"]
    steps.save(tmp_path / "tuned")
    tuned, base = (AutoModelForCausalLM.from_pretrained(tmp_path / name).eval() for name in ("tuned", "model"))
    assert tuned.config.model_type == family
    trained = steps.trainer.policy.language_model
    ids, mask = reference.encode(TEXTS[:1], steps.hparams.task)
    logits = tuned(ids).logits
    torch.testing.assert_close(logits, trained.logits(trained.hidden(ids, mask)), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, base(ids).logits, atol=1e-3)


def test_a_warning_is_logged_where_most_samples_do_not_end(reference: Reference) -> None:
    seldom = {"terminator": " happy", "terminator_match": "exact", "response_tokens": 18}
    structlog.reset_defaults()
    with capture_logs() as logs:
        Steps(reference, planned("sentiment-small", {"task": seldom})).sample(TEXTS * 13)
    (said,) = [entry for entry in logs if "most samples" in entry["event"]]
    assert said["of"] == 64
    assert said["invalid"] > 32


def test_texts_are_what_was_sampled_up_to_the_end(reference: Reference) -> None:
    samples = Steps(reference, hparams()).sample(TEXTS)
    assert list(samples.prompts) == TEXTS
    for text, valid, length in zip(
        samples.texts, samples.sampled.valid.tolist(), samples.sampled.lengths.tolist(), strict=True
    ):
        assert not valid or text.endswith(".")
        assert 17 <= length <= 24


def test_every_prompt_comes_once_before_any_comes_again(reference: Reference) -> None:
    steps, seen = Steps(reference, hparams(batch=8, episodes=40)), []
    for prompts in steps.batches(TEXTS):
        seen += prompts
        steps.update(steps.sample(prompts), [0.1 * i for i in range(8)])
    assert len(seen) == 40
    assert [sorted(seen[i : i + 5]) for i in range(0, 40, 5)] == [sorted(TEXTS)] * 8


def test_a_batch_without_an_update_is_refused(reference: Reference) -> None:
    batches = Steps(reference, hparams()).batches(TEXTS)
    next(batches)
    with pytest.raises(ValueError, match="call `update`"):
        next(batches)


def test_scores_must_be_one_for_each(reference: Reference) -> None:
    steps = Steps(reference, hparams())
    samples: Samples = steps.sample(TEXTS)
    with pytest.raises(ValueError, match="4 scores for 5 samples"):
        steps.update(samples, [1.0] * 4)


def test_a_value_network_of_its_own_is_trained_too(reference: Reference) -> None:
    steps = Steps(reference, hparams(value_network="separate"))
    samples = steps.sample(next(steps.batches(TEXTS)))
    assert steps.update(samples, samples.scores(happy))["objective/kl"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="no reward model"):
        Steps(reference, planned("sentiment", {"ppo": {"value_init": "reward_model"}}))
