"""Values of a network of its own, and values that start from a reward model."""

import pytest
import torch

from app.errors import InvalidError
from app.hparams import Pooling
from tests.workers.nets.tiny import padded_queries, random_ids, tiny_language_model
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.reward_model import Read, RewardModel
from workers.nets.value_head import ValueNetwork
from workers.nets.value_init import start_from_reward_model

RESPONSES = random_ids(3, 5, seed=4)


def reward_model(trunk: LanguageModel, *, frozen: bool = True, reads: tuple[Read, ...] = (Read(),)) -> RewardModel:
    """With a scale of its own in every place that has one."""
    model = RewardModel(trunk, reads=reads, frozen=frozen, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.gain.fill_(1.7)
        model.bias.fill_(-0.4)
        model.head.bias.fill_(0.3)
        model.feature_mean.copy_(torch.linspace(-1, 1, len(model.feature_mean)))
        model.feature_std.copy_(torch.linspace(0.5, 2, len(model.feature_std)))
    return model


def test_a_value_network_sees_what_a_policy_sees(language_model: LanguageModel) -> None:
    network, policy = ValueNetwork(language_model), Policy(language_model)
    assert not network(*padded_queries(), RESPONSES).any()
    torch.nn.init.normal_(policy.value_head.weight)
    network.value_head.load_state_dict(policy.value_head.state_dict())
    expected = policy(*padded_queries(), RESPONSES, temperature=1.0).values
    torch.testing.assert_close(network(*padded_queries(), RESPONSES), expected)


def test_only_what_values_need_is_trained(family: str) -> None:
    network = ValueNetwork(tiny_language_model(family))
    torch.nn.init.normal_(network.value_head.weight)
    network(*padded_queries(), RESPONSES).sum().backward()
    for parameter in network.parameters():
        assert parameter.requires_grad == (parameter.grad is not None)


def test_values_start_as_the_scores_of_what_stands_so_far(family: str) -> None:
    model = tiny_language_model(family)
    reward, policy = reward_model(model), Policy(model)
    start_from_reward_model(policy, reward)
    queries, mask = padded_queries()
    values = policy(queries, mask, RESPONSES, temperature=1.0).values
    for t in range(1, 5):
        read = RESPONSES[:, :t]
        expected = reward(queries, mask, read, torch.ones_like(read, dtype=torch.bool))
        torch.testing.assert_close(values[:, t], expected, atol=1e-4, rtol=1e-4)


def test_a_network_of_its_own_takes_over_a_tuned_trunk(family: str) -> None:
    reward = reward_model(tiny_language_model(family, seed=1), frozen=False)
    network = ValueNetwork(tiny_language_model(family))
    start_from_reward_model(network, reward)
    queries, mask = padded_queries()
    read = RESPONSES[:, :4]
    expected = reward(queries, mask, read, torch.ones_like(read, dtype=torch.bool))
    torch.testing.assert_close(network(queries, mask, RESPONSES)[:, 4], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reads", [(Read(pooling=Pooling.MEAN),), (Read(layer=1),), (Read(), Read(layer=1))])
def test_another_head_is_refused_with_what_to_do(reads: tuple[Read, ...]) -> None:
    model = tiny_language_model("gpt2")
    with pytest.raises(InvalidError, match="reads the last token at the final norm: set value_init to zero"):
        start_from_reward_model(Policy(model), reward_model(model, reads=reads))
