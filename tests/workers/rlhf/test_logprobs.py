import math
import weakref

import pytest
import torch

from workers.rlhf.logprobs import LEAST_STRIP, PRODUCT_STRIP, entropy, gather_logprobs, head_logprobs


def test_logprobs_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)]]])
    assert gather_logprobs(logits, torch.tensor([[1]]), 1.0).item() == pytest.approx(math.log(3 / 4))
    # At temperature 1/2 the odds are squared: 9 to 1.
    assert gather_logprobs(logits, torch.tensor([[0]]), 0.5).item() == pytest.approx(math.log(1 / 10))


def test_logprobs_of_all_tokens_are_a_distribution() -> None:
    logits = torch.randn(1, 1, 7, generator=torch.Generator().manual_seed(0)).expand(1, 7, 7) * 20
    logprobs = gather_logprobs(logits, torch.arange(7).unsqueeze(0), 0.7)
    assert logprobs.exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def test_the_gradient_is_the_true_one() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(5, (2, 3), generator=generator)
    assert torch.autograd.gradcheck(lambda x: gather_logprobs(x, tokens, 0.7), (logits,))


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1, 1, 50_000, dtype=torch.bfloat16, requires_grad=True)
    logprobs = gather_logprobs(logits, torch.tensor([[4]]), 0.7)
    (grad,) = torch.autograd.grad(logprobs.sum(), logits)
    assert logprobs.dtype == torch.float32
    assert logprobs.item() == pytest.approx(-math.log(50_000), rel=1e-6)
    assert grad.dtype == torch.bfloat16
    assert grad[0, 0, 4].item() == pytest.approx(1 / 0.7, rel=1e-2)


def test_the_logits_are_left_as_they_were() -> None:
    logits = torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    before = logits.detach().clone()
    torch.autograd.grad(gather_logprobs(logits, torch.tensor([[0, 1]]), 1.0).sum(), logits)
    assert torch.equal(logits.detach(), before)


def test_entropy_of_a_uniform_and_of_a_certain_choice() -> None:
    assert entropy(torch.zeros(1, 1, 8), 0.7).item() == pytest.approx(math.log(8))
    assert entropy(torch.tensor([[[1000.0, 0.0]]]), 0.7).item() == pytest.approx(0.0)
    assert entropy(torch.tensor([[[0.0, math.log(3.0)]]]), 1.0).item() == pytest.approx(
        math.log(4) - 0.75 * math.log(3)
    )


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 5\) and tokens \(1, 3\)"):
        gather_logprobs(torch.zeros(1, 2, 5), torch.zeros(1, 3, dtype=torch.int64), 1.0)
    with pytest.raises(ValueError, match="temperature 0"):
        gather_logprobs(torch.zeros(1, 2, 5), torch.zeros(1, 2, dtype=torch.int64), 0)
    with pytest.raises(ValueError, match="temperature"):
        entropy(torch.zeros(1, 2, 5), -1)


def head(*, rows: int = 6, vocabulary: int = 2500) -> tuple[torch.Tensor, ...]:
    """Hidden states, weight and bias in float64, and tokens; the vocabulary fills three strips."""
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(2, rows // 2, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, 4, generator=generator, dtype=torch.float64)
    bias = torch.randn(vocabulary, generator=generator, dtype=torch.float64)
    tokens = torch.randint(vocabulary, (2, rows // 2), generator=generator)
    tokens[0, 0], tokens[1, -1] = 0, vocabulary - 1
    return hidden, weight, bias, tokens


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("most_kept", [0, 6 * 2500])
@pytest.mark.parametrize("trained", ["all", "hidden", "head", "none"])
def test_logprobs_from_hidden_states_are_those_of_the_logits(with_bias: bool, trained: str, most_kept: int) -> None:
    assert max(LEAST_STRIP, PRODUCT_STRIP) < 2500
    results = []
    for stripped in (False, True):
        hidden, weight, bias, tokens = head()
        hidden.requires_grad_(trained in ("all", "hidden"))
        weight.requires_grad_(trained in ("all", "head"))
        bias.requires_grad_(trained in ("all", "head"))
        given = bias if with_bias else None
        if stripped:
            logprobs = head_logprobs(hidden, weight, given, tokens, 0.7, most_kept=most_kept)
        else:
            logprobs = gather_logprobs(torch.nn.functional.linear(hidden, weight, given), tokens, 0.7)
        if trained != "none":
            (logprobs * torch.linspace(-1, 2, tokens.numel(), dtype=torch.float64).view(tokens.shape)).sum().backward()
        results.append([logprobs.detach(), hidden.grad, weight.grad, bias.grad])
    for expected, found in zip(*results, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None and found is not None:
            torch.testing.assert_close(found, expected)


def test_a_graph_that_is_kept_gives_its_gradient_again() -> None:
    hidden, weight, _, tokens = head()
    logprobs = head_logprobs(hidden.requires_grad_(), weight.requires_grad_(), None, tokens, 0.7)
    first = torch.autograd.grad(logprobs.sum(), (hidden, weight), retain_graph=True)
    for one, again in zip(first, torch.autograd.grad(logprobs.sum(), (hidden, weight)), strict=True):
        torch.testing.assert_close(one, again)


def test_what_is_kept_for_a_gradient_goes_with_it() -> None:
    hidden, weight, _, tokens = head()
    logprobs = head_logprobs(hidden, weight.requires_grad_(), None, tokens, 0.7)
    kept = weakref.ref(logprobs.grad_fn.next_functions[0][0].kept[0].terms)  # type: ignore[union-attr]
    assert kept() is not None
    logprobs.sum().backward(retain_graph=True)
    assert kept() is None


def test_extreme_logits_neither_overflow_nor_vanish() -> None:
    hidden = torch.tensor([[[500.0, 0.0]], [[-500.0, 0.0]]])
    weight = torch.zeros(3000, 2)
    weight[2999, 0] = 1.0  # behind two strips of zeros
    tokens = torch.tensor([[2999], [2999]])
    logprobs = head_logprobs(hidden, weight.requires_grad_(), None, tokens, 1.0)
    assert logprobs.flatten().tolist() == pytest.approx([0.0, -500 - math.log(2999)])
    (slope,) = torch.autograd.grad(logprobs.sum(), weight)
    assert slope[2999, 0].item() == pytest.approx(-500)  # of the second text alone, which holds it impossible
    assert slope[0, 0].item() == pytest.approx(500 / 2999)


def test_shapes_of_hidden_states_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 5\) and tokens \(1, 3\)"):
        head_logprobs(torch.zeros(1, 2, 5), torch.zeros(9, 5), None, torch.zeros(1, 3, dtype=torch.int64), 1.0)
