"""The policy recomputes what it sampled, starts with no opinion of value, and trains what it should."""

import pytest
import torch

from tests.workers.nets.tiny import LAYERS, padded_queries, tiny_language_model
from workers.nets.generation import Generated
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.rlhf import logprobs

TEMPERATURE = 0.7


@pytest.fixture
def policy(language_model: LanguageModel) -> Policy:
    return Policy(language_model)


def write(policy: Policy) -> Generated:
    generator = torch.Generator().manual_seed(3)
    return policy.generate(*padded_queries(), response_tokens=5, temperature=TEMPERATURE, generator=generator)


def test_before_the_first_step_every_ratio_is_one(policy: Policy) -> None:
    torch.nn.init.normal_(policy.value_head.weight)
    written = write(policy)
    said = policy(*padded_queries(), written.tokens, temperature=TEMPERATURE)
    torch.testing.assert_close((said.logprobs - written.logprobs).exp(), torch.ones(3, 5), atol=1e-4, rtol=0)
    assert written.values is not None
    torch.testing.assert_close(said.values, written.values, atol=1e-4, rtol=1e-4)
    assert said.entropy is None


def test_the_value_head_starts_at_zero(policy: Policy) -> None:
    assert not policy(*padded_queries(), torch.zeros(3, 5).long(), temperature=1.0).values.any()


def test_entropy_is_that_of_the_tempered_distribution(policy: Policy) -> None:
    queries, mask = padded_queries()
    responses = write(policy).tokens
    said = policy(queries, mask, responses, temperature=TEMPERATURE, with_entropy=True)
    text = torch.cat([queries, responses], dim=1)
    full = torch.cat([mask, torch.ones(3, 5).bool()], dim=1)
    logits = policy.language_model.logits(policy.language_model.hidden(text, full))[:, 6:-1]
    expected = torch.distributions.Categorical(logits=logits / TEMPERATURE).entropy()
    torch.testing.assert_close(said.entropy, expected, atol=1e-4, rtol=1e-4)


def test_a_step_up_the_logprobs_raises_them(policy: Policy) -> None:
    responses = write(policy).tokens
    before = policy(*padded_queries(), responses, temperature=TEMPERATURE).logprobs.mean()
    optimizer = torch.optim.SGD(policy.parameters(), lr=1e-3)
    (-before).backward()
    optimizer.step()
    assert policy(*padded_queries(), responses, temperature=TEMPERATURE).logprobs.mean() > before


def test_frozen_layers_get_no_gradient_and_the_others_the_same_as_ever(family: str) -> None:
    free, held = Policy(tiny_language_model(family)), Policy(tiny_language_model(family), frozen_layers=2)
    responses = write(free).tokens
    for policy in (free, held):
        policy(*padded_queries(), responses, temperature=TEMPERATURE).logprobs.sum().backward()
    frozen = {id(p) for block in held.language_model.blocks[:2] for p in block.parameters()}
    frozen |= {id(m.weight) for m in held.modules() if isinstance(m, torch.nn.Embedding)}
    for mine, theirs in zip(held.parameters(), free.parameters(), strict=True):
        assert mine.requires_grad == (id(mine) not in frozen)
        if mine.grad is None:
            assert id(mine) in frozen or mine is held.value_head.weight or mine is held.value_head.bias
        else:
            torch.testing.assert_close(mine.grad, theirs.grad)


def test_something_must_be_left_to_train() -> None:
    with pytest.raises(ValueError, match=rf"frozen_layers {LAYERS} must lie in \[0, {LAYERS}\)"):
        Policy(tiny_language_model("gpt2"), frozen_layers=LAYERS)


def test_bfloat16_products_leave_the_logits_in_float32(policy: Policy) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = policy.response_hidden(*padded_queries(), torch.zeros(3, 5).long())
        assert policy.language_model.logits(hidden).dtype == torch.float32
        assert policy.value_head(hidden[:, 0]).dtype == torch.float32


def test_logprobs_agree_with_their_definition(policy: Policy) -> None:
    queries, mask = padded_queries()
    responses = write(policy).tokens
    logits = policy.language_model.logits(policy.response_hidden(queries, mask, responses))
    said = policy(queries, mask, responses, temperature=TEMPERATURE)
    torch.testing.assert_close(said.logprobs, logprobs.gather_logprobs(logits, responses, TEMPERATURE))
