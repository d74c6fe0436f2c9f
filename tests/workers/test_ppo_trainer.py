"""PPO on a tiny random GPT-2: it learns what is scored, resumes exactly, and leaves the reference alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.hparams import PPOHParams, TaskHParams
from tests.tiny import save_tiny_model
from workers import training_state
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import encode_queries, load_tokenizer, terminator_ids
from workers.nets.value_head import ValueNetwork
from workers.ppo_objective import Objective
from workers.ppo_trainer import PPOTrainer, Progress
from workers.ranks import ALONE, Ranks
from workers.rlhf.advantages import Advantages
from workers.rlhf.guards import GuardError
from workers.rlhf.types import QueryBatch, Rollout

TASK = TaskHParams(question="?", query_tokens=8, response_tokens=6, min_terminator_index=2, temperature=1.0)
PPO = PPOHParams(
    episodes=320, batch=16, micro_batch=16, learning_rate=3e-3, kl_coef=0.02, kl_target=None, kl_horizon=160
)
PROMPTS = ["the sun was", "she was happy and", "he", "a door to home"] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


def make_trainer(
    folder: Path,
    ppo: PPOHParams = PPO,
    progress: Progress | None = None,
    *,
    task: TaskHParams = TASK,
    objective: Objective | None = None,
    bf16: bool = False,
    frozen: int = 0,
    share_trunk: bool = True,
    ranks: Ranks = ALONE,
) -> PPOTrainer:
    """A trainer at its start, or at `progress`."""
    reference = Policy(LanguageModel.load(folder)).requires_grad_(False)
    return PPOTrainer(
        Policy(LanguageModel.load(folder), frozen_layers=frozen),
        reference,
        task=task,
        ppo=ppo,
        terminators=torch.tensor(terminator_ids(load_tokenizer(folder), task.terminator or "<|endoftext|>")),
        seed=1,
        progress=progress or Progress(update=0, kl_coef=ppo.kl_coef),
        bf16=bf16,
        value_network=ValueNetwork(LanguageModel.load(folder)) if ppo.value_network == "separate" else None,
        objective=objective,
        share_trunk=share_trunk,
        ranks=ranks,
    )


def batch(folder: Path) -> QueryBatch:
    """Sixteen queries of unequal length."""
    return QueryBatch.same(*encode_queries(load_tokenizer(folder), PROMPTS, max_tokens=TASK.query_tokens))


def counts_happy(folder: Path, sign: float = 1.0) -> "Counter":
    """A score of one per kept `happy`."""
    happy = load_tokenizer(folder)("happy", add_special_tokens=False)["input_ids"][0]
    return Counter(happy, sign)


class Counter:
    """Scores a response by how often a token stands in it."""

    def __init__(self, token: int, sign: float) -> None:
        self.token = token
        self.sign = sign

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        assert queries.shape == query_mask.shape
        return self.sign * ((responses == self.token) & mask).float().sum(dim=1)


def weights(policy: Policy) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in policy.state_dict().items()}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_scores_high_is_written_more_often(folder: Path, sign: float) -> None:
    trainer, scorer = make_trainer(folder), counts_happy(folder, sign)
    scores = [trainer.update(batch(folder), scorer)["objective/score"] for _ in range(20)]
    assert sum(scores[-4:]) > sum(scores[:4]) + 0.5


def test_the_first_update_starts_from_the_reference(folder: Path) -> None:
    stats = make_trainer(folder).update(batch(folder), counts_happy(folder))
    assert stats["objective/kl"] == pytest.approx(0, abs=1e-4)
    with_one_epoch = make_trainer(folder, PPO.model_copy(update={"epochs": 1}))
    assert with_one_epoch.update(batch(folder), counts_happy(folder))["ppo/ratio_error"] < 1e-4


def test_a_high_kl_penalty_keeps_the_policy_near_its_start(folder: Path) -> None:
    def last_kl(coef: float) -> float:
        trainer = make_trainer(folder, PPO.model_copy(update={"kl_coef": coef}))
        return [trainer.update(batch(folder), counts_happy(folder))["objective/kl"] for _ in range(12)][-1]

    assert last_kl(5.0) < 0.5 * last_kl(0.0)


def test_the_reference_never_changes(folder: Path) -> None:
    trainer = make_trainer(folder)
    before = weights(trainer.reference)
    trainer.update(batch(folder), counts_happy(folder))
    assert all(torch.equal(before[name], value) for name, value in trainer.reference.state_dict().items())


def test_two_updates_are_one_and_one_after_a_restart(folder: Path) -> None:
    unbroken = make_trainer(folder)
    for _ in range(2):
        unbroken.update(batch(folder), counts_happy(folder))
    first = make_trainer(folder)
    first.update(batch(folder), counts_happy(folder))
    files, meta = training_state.pack(first)
    second = make_trainer(folder)
    training_state.unpack(second, files, meta)
    second.update(batch(folder), counts_happy(folder))
    assert second.progress == unbroken.progress
    expected = unbroken.policy.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in second.policy.state_dict().items())


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_micro_batches_change_nothing_but_memory(folder: Path, mode: str) -> None:
    whole = make_trainer(folder, PPO.model_copy(update={"mode": mode}))
    parts = make_trainer(folder, PPO.model_copy(update={"mode": mode, "micro_batch": 5}))
    expected = whole.update(batch(folder), counts_happy(folder))
    assert parts.update(batch(folder), counts_happy(folder)) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    ends = zip(whole.policy.parameters(), parts.policy.parameters(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in ends)


def test_frozen_layers_stay(folder: Path) -> None:
    trainer = make_trainer(folder)
    policy = Policy(LanguageModel.load(folder), frozen_layers=1)
    frozen = PPOTrainer(
        policy,
        trainer.reference,
        task=TASK,
        ppo=PPO,
        terminators=trainer.terminators,
        seed=1,
        progress=trainer.progress,
        bf16=False,
    )
    before = weights(policy)
    frozen.update(batch(folder), counts_happy(folder))
    changed = {name for name, value in policy.state_dict().items() if not torch.equal(before[name], value)}
    assert changed
    assert not any(".h.0." in name for name in changed)


def test_the_kl_coefficient_rises_when_the_policy_strays_too_far(folder: Path) -> None:
    adaptive = PPO.model_copy(update={"kl_target": 1e-3, "kl_coef": 0.01})
    trainer = make_trainer(folder, adaptive)
    coefs = [trainer.update(batch(folder), counts_happy(folder))["objective/kl_coef"] for _ in range(6)]
    assert coefs[0] == 0.01
    # KL of some 0.1 is far above the target: from the second update on 1 + 0.2 * 16 / 160 each time.
    assert coefs[-1] / coefs[-2] == pytest.approx(1.02)


def test_the_kl_coefficient_falls_no_lower_than_it_may(folder: Path) -> None:
    """Far below its target the KL lets the coefficient fall by 0.2 * 16 / 160 per update, down to its bound."""
    held = PPO.model_copy(update={"kl_target": 50.0, "kl_coef": 0.3, "kl_coef_least": 0.29})
    trainer = make_trainer(folder, held)
    coefs = [trainer.update(batch(folder), counts_happy(folder))["objective/kl_coef"] for _ in range(4)]
    assert coefs == pytest.approx([0.3, 0.294, 0.29, 0.29])


def test_a_damped_coefficient_answers_to_the_kl_of_the_update_before(folder: Path) -> None:
    """A KL of nearly nothing divides the coefficient by nearly e^0.5; the controller's state does not."""
    damped = PPO.model_copy(update={"kl_target": 50.0, "kl_coef": 0.3, "kl_damping": 0.5})
    trainer = make_trainer(folder, damped)
    first, second = [trainer.update(batch(folder), counts_happy(folder)) for _ in range(2)]
    assert first["objective/kl_coef"] == 0.3
    answer = math.exp(0.5 * (first["objective/kl"] / 50 - 1))
    assert second["objective/kl_coef"] == pytest.approx(0.3 * 0.98 * answer)
    assert trainer.progress.kl_coef == pytest.approx(0.3 * 0.98**2)
    assert trainer.progress.kl == second["objective/kl"]


def test_the_kl_coefficient_follows_the_mean_kl_of_each_update(folder: Path) -> None:
    adaptive = PPO.model_copy(update={"kl_target": 0.05, "kl_coef": 0.3, "mode": "reference"})
    trainer = make_trainer(folder, adaptive)
    coef, errors = 0.3, []
    for _ in range(8):
        stats = trainer.update(batch(folder), counts_happy(folder))
        assert stats["objective/kl_coef"] == pytest.approx(coef)
        errors.append(stats["objective/kl"] / 0.05 - 1)
        coef *= 1 + min(max(errors[-1], -0.2), 0.2) * 16 / 160
    assert trainer.progress.kl_coef == pytest.approx(coef)
    assert errors[0] < -0.2 < 0.2 < max(errors)


def test_an_update_tells_the_published_statistics(folder: Path) -> None:
    stats = make_trainer(folder).update(batch(folder), counts_happy(folder))
    objective = {f"objective/{name}" for name in ("kl", "kl_coef", "entropy", "score", "score_total")}
    losses = {f"ppo/loss/{name}" for name in ("policy", "value", "total")}
    policy = {f"ppo/policy/{name}" for name in ("approxkl", "clipfrac")}
    returns, values = {"ppo/returns/mean", "ppo/returns/var"}, {"clipfrac", "mean", "var", "var_explained"}
    assert stats.keys() >= objective | losses | policy | returns | {f"ppo/val/{name}" for name in values}
    assert stats["ppo/loss/total"] == pytest.approx(stats["ppo/loss/policy"] + 0.1 * stats["ppo/loss/value"])


def test_a_score_that_is_no_number_stops_the_update(folder: Path) -> None:
    def broken(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        return (queries.sum() + query_mask.sum() + responses.sum() + mask.sum()) * torch.full((16,), torch.nan)

    with pytest.raises(GuardError, match="sum of the scores is nan, not a finite number"):
        make_trainer(folder).update(batch(folder), broken)


def test_an_update_is_sample_rollout_and_step(folder: Path) -> None:
    at_once, by_hand = make_trainer(folder), make_trainer(folder)
    scorer = counts_happy(folder)
    for _ in range(2):
        expected = at_once.update(batch(folder), scorer)
        sampled = by_hand.sample(batch(folder))
        kept = torch.arange(TASK.response_tokens) < sampled.lengths.unsqueeze(1)
        scores = scorer(sampled.queries.raw_ids, sampled.queries.raw_mask, sampled.tokens, kept)
        assert by_hand.step(by_hand.rollout(sampled, scores)) == expected
    ends = zip(at_once.policy.parameters(), by_hand.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in ends)


def test_the_scorer_reads_raw_queries_and_truncated_samples(folder: Path) -> None:
    plain, raw = batch(folder), torch.full((16, 2), 7)
    queries = replace(plain, raw_ids=raw, raw_mask=torch.ones_like(raw, dtype=torch.bool))
    trainer = make_trainer(folder)
    sampled = trainer.sample(queries)

    def read(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        assert torch.equal(queries, raw)
        assert query_mask.all()
        assert torch.equal(responses.where(mask, 0), sampled.responses.where(mask, 0))
        return mask.float().sum(dim=1)

    assert torch.equal(trainer.scores(sampled, read), sampled.lengths.float())


def test_invalid_samples_get_the_penalty_in_place_of_their_score(folder: Path) -> None:
    trainer = make_trainer(folder)
    sampled = trainer.sample(batch(folder))
    rollout = trainer.rollout(sampled, torch.full((16,), 5.0))
    assert 0 < int(sampled.valid.sum()) < 16
    assert rollout.scores.tolist() == [5.0 if valid else -1.0 for valid in sampled.valid.tolist()]


def test_the_reference_reads_samples_whole_and_at_the_temperature_of_sampling(folder: Path) -> None:
    # At the start both are one model, so they say the same of every token, those behind the end included.
    sampled = make_trainer(folder, task=TASK.model_copy(update={"temperature": 0.5})).sample(batch(folder))
    assert sampled.ref_logprobs.shape == (16, TASK.response_tokens)
    assert sampled.lengths.min() < TASK.response_tokens
    torch.testing.assert_close(sampled.ref_logprobs, sampled.logprobs, atol=1e-4, rtol=1e-4)


def test_gradients_are_not_clipped(folder: Path) -> None:
    changes = {"value_coef": 1e4, "whiten_rewards": False, "epochs": 1}
    trainer = make_trainer(folder, PPO.model_copy(update=changes))
    stats = trainer.update(batch(folder), scores_one)
    used = [weight.grad for weight in trainer.models.trained().values() if weight.grad is not None]
    assert sum(grad.square().sum().item() for grad in used) ** 0.5 == pytest.approx(stats["ppo/grad_norm"])
    assert stats["ppo/grad_norm"] > 100


def test_a_task_without_an_end_cuts_nothing(folder: Path) -> None:
    trainer = make_trainer(folder, task=TASK.model_copy(update={"terminator": None}))
    sampled = trainer.sample(batch(folder))
    assert torch.equal(sampled.tokens, sampled.responses)
    assert sampled.valid.all()


def test_end_of_text_alone_ends_samples(folder: Path) -> None:
    task = TASK.model_copy(update={"terminator": None, "eos_ends": True})
    sampled = make_trainer(folder, task=task).sample(batch(folder))
    assert 0 < int(sampled.valid.sum()) < 16


def test_minibatches_are_drawn_anew_each_epoch_and_cover_every_episode(folder: Path) -> None:
    class Counting(Objective):
        """Notes the scores of each minibatch."""

        def targets(self, batch: Rollout, *, kl_coef: float) -> Advantages:
            seen.append(batch.scores.tolist())
            return super().targets(batch, kl_coef=kl_coef)

    seen: list[list[float]] = []
    ppo = PPO.model_copy(update={"minibatches": 2, "epochs": 3})
    trainer = make_trainer(folder, ppo, objective=Counting(ppo))
    sampled = trainer.sample(batch(folder))
    everywhere = replace(sampled, valid=torch.ones(16, dtype=torch.bool))
    trainer.step(trainer.rollout(everywhere, torch.arange(16.0)))
    steps = [scores for scores in seen if len(scores) == 8]
    assert len(steps) == 6
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        assert sorted(first + second) == list(range(16))
    assert len({tuple(scores) for scores in steps}) == 6


def scores_one(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
    """Likes everything."""
    assert queries.shape == query_mask.shape
    assert responses.shape == mask.shape
    return torch.ones(len(queries))


def test_a_value_network_of_its_own_learns_and_leaves_the_policy_alone(folder: Path) -> None:
    # Every episode scores 1, so that 1 is what every token's value should be.
    changes = {"value_network": "separate", "value_coef": 1.0, "whiten_rewards": False}
    trainer = make_trainer(folder, PPO.model_copy(update=changes), task=TASK.model_copy(update={"terminator": None}))
    network = trainer.models.value_network
    assert network is not None
    assert {name for name in trainer.models.trained() if "value_head" in name} == {
        "value_network.value_head.weight",
        "value_network.value_head.bias",
    }
    before = {name: value.clone() for name, value in network.state_dict().items()}
    values = [trainer.update(batch(folder), scores_one)["ppo/val/mean"] for _ in range(15)]
    assert values[0] == 0
    assert values[-1] == pytest.approx(1, abs=0.2)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert "value_head.weight" in changed
    assert any("h.0.attn" in name for name in changed)
    assert not trainer.policy.value_head.weight.any()


def test_values_of_a_separate_network_do_not_pull_on_the_policy(folder: Path) -> None:
    # Whatever the value loss weighs, the policy's first step is the same: no weight is shared.
    def policy_after(value_coef: float) -> Policy:
        changes = {"value_network": "separate", "value_coef": value_coef, "epochs": 1}
        trainer = make_trainer(folder, PPO.model_copy(update=changes))
        trainer.update(batch(folder), counts_happy(folder))
        return trainer.policy

    little, much = policy_after(0.1), policy_after(10.0)
    assert all(torch.equal(one, other) for one, other in zip(little.parameters(), much.parameters(), strict=True))


def test_a_value_network_is_given_exactly_where_it_is_wanted(folder: Path) -> None:
    trainer = make_trainer(folder)
    with pytest.raises(ValueError, match="give a value network exactly if it is separate"):
        PPOTrainer(
            trainer.policy,
            trainer.reference,
            task=TASK,
            ppo=PPO.model_copy(update={"value_network": "separate"}),
            terminators=trainer.terminators,
            seed=1,
            progress=trainer.progress,
            bf16=False,
        )


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize("value_network", ["shared", "separate"])
def test_left_padding_changes_nothing_in_a_whole_update(folder: Path, mode: str, value_network: str) -> None:
    ppo = PPO.model_copy(update={"mode": mode, "value_network": value_network, "learning_rate": 1e-3})
    ids, mask = batch(folder).ids, batch(folder).mask
    wider = torch.nn.functional.pad(ids, (3, 0), value=5), torch.nn.functional.pad(mask, (3, 0), value=False)
    plain, padded = make_trainer(folder, ppo), make_trainer(folder, ppo)
    for _ in range(2):
        expected = plain.update(QueryBatch.same(ids, mask), counts_happy(folder))
        assert padded.update(QueryBatch.same(*wider), counts_happy(folder)) == pytest.approx(
            expected, rel=1e-3, abs=1e-5
        )
    for one, other in zip(plain.models.trained().values(), padded.models.trained().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
