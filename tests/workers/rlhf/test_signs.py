"""The 2019 authors once trained overnight on a flipped sign. A toy policy shows which way each term pulls.

The policy is one table of logits: it answers every query with r independent tokens out of v.
"""

import pytest
import torch

from workers.rlhf.advantages import advantages_and_returns
from workers.rlhf.kl import kl_per_episode, kl_per_token
from workers.rlhf.logprobs import gather_logprobs
from workers.rlhf.losses import policy_loss
from workers.rlhf.masks import response_mask
from workers.rlhf.rewards import RewardMode, per_token_rewards

B, R, V = 4096, 3, 5
LIKED = 2
MODES: list[RewardMode] = ["reference", "corrected"]


def step(
    logits: torch.Tensor, ref_logits: torch.Tensor, liking: float, kl_coef: float, mode: RewardMode, seed: int
) -> torch.Tensor:
    """New (R, V) logits after one PPO step with score = liking * (how many tokens are LIKED)."""
    generator = torch.Generator().manual_seed(seed)
    table = logits.clone().requires_grad_()
    responses = torch.multinomial(logits.softmax(-1), B, replacement=True, generator=generator).T  # (B, R)
    lengths = torch.full((B,), R)
    logprobs = gather_logprobs(table.expand(B, R, V), responses, 1.0)
    ref_logprobs = gather_logprobs(ref_logits.expand(B, R, V), responses, 1.0)
    scores = liking * (responses == LIKED).sum(dim=1).float()
    rewards = per_token_rewards(logprobs.detach(), ref_logprobs, scores, lengths, kl_coef=kl_coef, mode=mode)
    mask = response_mask(lengths, R)
    advantages, _ = advantages_and_returns(
        rewards, torch.zeros(B, R), gamma=1, lam=0.95, whiten_rewards=False, mask=mask
    )
    loss = policy_loss(logprobs, logprobs.detach(), advantages, clip=0.2, mask=mask).loss
    (grad,) = torch.autograd.grad(loss, table)
    return logits - 0.5 * grad


def true_kl(logits: torch.Tensor, ref_logits: torch.Tensor) -> float:
    logprobs, ref = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return (logprobs.exp() * (logprobs - ref)).sum().item()


@pytest.mark.parametrize("mode", MODES)
def test_what_scores_high_becomes_likelier(mode: RewardMode) -> None:
    logits = torch.randn(R, V, generator=torch.Generator().manual_seed(0))
    liked = step(logits, logits, liking=1.0, kl_coef=0.0, mode=mode, seed=1)
    disliked = step(logits, logits, liking=-1.0, kl_coef=0.0, mode=mode, seed=1)
    before = logits.softmax(-1)[:, LIKED]
    assert (liked.softmax(-1)[:, LIKED] > before).all()
    assert (disliked.softmax(-1)[:, LIKED] < before).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_kl_penalty_pulls_toward_the_reference(mode: RewardMode) -> None:
    ref_logits = torch.zeros(R, V)
    logits = torch.randn(R, V, generator=torch.Generator().manual_seed(2))
    pulled = step(logits, ref_logits, liking=0.0, kl_coef=0.1, mode=mode, seed=3)
    assert true_kl(pulled, ref_logits) < true_kl(logits, ref_logits)


def test_many_steps_settle_near_the_known_optimum() -> None:
    """With KL coefficient beta the best policy is reference * exp(score / beta), normalised."""
    beta = 1.0
    ref_logits = torch.randn(R, V, generator=torch.Generator().manual_seed(4)) / 2
    optimum = ref_logits + torch.nn.functional.one_hot(torch.tensor(LIKED), V) / beta
    logits = ref_logits
    for update in range(150):
        logits = step(logits, ref_logits, liking=1.0, kl_coef=beta, mode="reference", seed=update)
    assert (logits.softmax(-1) - optimum.softmax(-1)).abs().max().item() < 0.05


def test_sampled_kl_agrees_with_the_true_kl() -> None:
    ref_logits = torch.zeros(R, V)
    logits = torch.randn(R, V, generator=torch.Generator().manual_seed(5))
    responses = torch.multinomial(
        logits.softmax(-1), 20_000, replacement=True, generator=torch.Generator().manual_seed(6)
    ).T
    logprobs = gather_logprobs(logits.expand(20_000, R, V), responses, 1.0)
    ref_logprobs = gather_logprobs(ref_logits.expand(20_000, R, V), responses, 1.0)
    sampled = kl_per_episode(kl_per_token(logprobs, ref_logprobs)).mean().item()
    assert sampled == pytest.approx(true_kl(logits, ref_logits), rel=0.03)
