"""Samples are exact: their log-probabilities, their frequencies, their independence of padding and prefix sharing."""

import pytest
import torch
from torch import Tensor

from tests.workers.nets.tiny import VOCABULARY, padded_queries, random_ids, tiny_language_model
from workers.nets.decoding import BLOCK, sample
from workers.nets.generation import Generated, generate
from workers.nets.language_model import LanguageModel


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write(
    model: LanguageModel,
    queries: Tensor,
    mask: Tensor,
    *,
    k: int = 1,
    temperature: float = 0.7,
    r: int = 6,
    keep_layers: tuple[int, ...] = (),
    keep_last: bool = False,
) -> Generated:
    return generate(
        model,
        queries,
        mask,
        response_tokens=r,
        temperature=temperature,
        generator=seeded(),
        samples_per_query=k,
        read_value=lambda hidden: hidden[:, 0],
        keep_layers=keep_layers,
        keep_last=keep_last,
    )


def test_logprobs_and_values_are_those_of_one_full_forward_pass_per_text(language_model: LanguageModel) -> None:
    queries, mask = padded_queries()
    written = write(language_model, queries, mask, k=2)
    assert written.tokens.shape == written.logprobs.shape == (6, 6)
    assert written.values is not None
    for row in range(6):
        query = queries[row // 2][mask[row // 2]]
        text = torch.cat([query, written.tokens[row]]).unsqueeze(0)
        hidden = language_model.hidden(text, torch.ones_like(text).bool())[0, len(query) - 1 : -1]
        expected = (language_model.logits(hidden) / 0.7).log_softmax(dim=-1)
        expected = expected.gather(1, written.tokens[row].unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(written.logprobs[row], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(written.values[row], hidden[:, 0], atol=1e-4, rtol=1e-4)


def test_padding_does_not_change_what_is_written(language_model: LanguageModel) -> None:
    query = random_ids(1, 4, seed=1)
    plain = write(language_model, query, torch.ones(1, 4).bool())
    padded = write(language_model, torch.cat([random_ids(1, 3), query], dim=1), (torch.arange(7) >= 3).unsqueeze(0))
    assert torch.equal(plain.tokens, padded.tokens)
    torch.testing.assert_close(plain.logprobs, padded.logprobs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_samples_of_one_query_are_those_of_its_copies(language_model: LanguageModel, count: int) -> None:
    queries, mask = (part[:count] for part in padded_queries())
    shared = write(language_model, queries, mask, k=3)
    copied = write(language_model, queries.repeat_interleave(3, dim=0), mask.repeat_interleave(3, dim=0))
    assert torch.equal(shared.tokens, copied.tokens)
    assert len({tuple(row) for row in shared.tokens.tolist()}) > count, "the samples of a query differ"


def test_the_generator_alone_decides(language_model: LanguageModel) -> None:
    queries, mask = padded_queries()
    assert torch.equal(*(write(language_model, queries, mask).tokens for _ in range(2)))


def test_what_was_written_may_be_trained_on(language_model: LanguageModel) -> None:
    queries, mask = padded_queries()
    written = write(language_model, queries, mask)
    weight = torch.ones(VOCABULARY, 1, requires_grad=True)
    (torch.nn.functional.embedding(written.tokens, weight).squeeze(-1) * written.logprobs).sum().backward()
    assert weight.grad is not None


def test_autocast_around_it_leaves_no_cast_without_gradient_behind() -> None:
    model = tiny_language_model("llama")
    queries, mask = padded_queries()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        write(model, queries, mask)
        model.hidden(queries, mask).float().sum().backward()
    assert all(parameter.grad is not None for block in model.blocks for parameter in block.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_autocast_casts_every_weight_once_for_all_tokens(frozen: bool) -> None:
    model = tiny_language_model("llama").requires_grad_(not frozen)
    casts = []
    for r in (2, 8):
        with torch.profiler.profile(record_shapes=True) as profile, torch.autocast("cpu", dtype=torch.bfloat16):
            write(model, *padded_queries(), r=r)
        events = profile.events()
        assert events is not None
        casts.append(sum(e.name == "aten::_to_copy" and e.input_shapes[0] == [48, 32] for e in events))
    assert casts == [6, 6], "gate and up of three blocks"


def test_frozen_weights_stay_frozen() -> None:
    model = tiny_language_model("gpt2")
    model.blocks[0].requires_grad_(False)
    write(model, *padded_queries())
    assert not any(parameter.requires_grad for parameter in model.blocks[0].parameters())
    assert all(parameter.requires_grad for parameter in model.blocks[1].parameters())


def test_an_end_of_text_token_ends_nothing() -> None:
    """Wherever it comes up, the sample goes on to its full length as if it were any other token."""
    model = tiny_language_model("gpt_neox")
    model.model.config.eos_token_id = model.model.generation_config.eos_token_id = end = 7
    with torch.no_grad():
        model.model.get_output_embeddings().weight[end] = 0
        model.model.get_output_embeddings().weight.mul_(0.01)  # all tokens nearly alike
    written = write(model, *padded_queries(), k=60, r=20)
    assert written.tokens.shape == (180, 20)
    ended = (written.tokens[:, :-1] == end).cumsum(dim=1) > 0
    after = written.tokens[:, 1:][ended]
    assert len(after) > 200
    assert len(after.unique()) > VOCABULARY // 2


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -float("inf")])
    n = 40_000
    uniform = torch.rand(n, generator=seeded())
    tokens, logprobs = sample(logits.expand(n, 4) / 0.5, uniform)
    expected = (logits / 0.5).softmax(dim=0)
    counts = torch.bincount(tokens, minlength=4)
    assert counts[3] == 0
    torch.testing.assert_close(counts / n, expected, atol=4 * 0.5 / n**0.5, rtol=0)
    torch.testing.assert_close(logprobs, expected.log()[tokens])


def test_the_ends_of_the_unit_interval_hit_possible_tokens() -> None:
    logits = torch.tensor([[-float("inf"), 3.0, 1.0, -float("inf")]]).expand(2, 4)
    tokens, _ = sample(logits, torch.tensor([0.0, 1 - 2**-24]))
    assert tokens.tolist() == [1, 2]


def test_a_token_is_drawn_where_the_cumulative_probability_passes_the_number() -> None:
    v = 2 * BLOCK + 44
    logits = torch.randn(500, v, generator=seeded(1)) * 3
    uniform = torch.rand(500, generator=seeded(2))
    tokens, logprobs = sample(logits / 0.8, uniform)
    exact = (logits.double() / 0.8).log_softmax(dim=1)
    ends = exact.exp().cumsum(dim=1)
    after = ends.gather(1, tokens.unsqueeze(1)).squeeze(1)
    before = after - exact.exp().gather(1, tokens.unsqueeze(1)).squeeze(1)
    assert ((before - 1e-5 <= uniform) & (uniform <= after + 1e-5)).all()
    assert len((tokens // BLOCK).unique()) == 3
    torch.testing.assert_close(logprobs.double(), exact.gather(1, tokens.unsqueeze(1)).squeeze(1), atol=1e-5, rtol=1e-5)


def test_a_certain_token_anywhere_is_drawn_by_every_number() -> None:
    v = BLOCK + 3
    for token in (0, BLOCK - 1, BLOCK, v - 1):
        logits = torch.full((3, v), -float("inf"))
        logits[:, token] = 5.0
        tokens, logprobs = sample(logits, torch.tensor([0.0, 0.5, 1 - 2**-24]))
        assert tokens.tolist() == [token] * 3
        assert logprobs.tolist() == [0.0] * 3


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"r": 0}, {"k": 0}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        write(tiny_language_model("gpt2"), *padded_queries(), **bad)  # type: ignore[arg-type]


def test_more_than_the_context_is_refused(language_model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="exceed the model's context of 40"):
        write(language_model, *padded_queries(), r=35)


@pytest.mark.parametrize("last", [False, True])
def test_hidden_states_kept_while_writing_are_those_of_one_full_pass(language_model: LanguageModel, last: bool) -> None:
    queries, mask = padded_queries()
    written = write(language_model, queries, mask, k=2, r=4, keep_layers=(2, 1), keep_last=last)
    ids = torch.cat([queries.repeat_interleave(2, dim=0), written.tokens[:, : 3 + last]], dim=1)
    real = torch.nn.functional.pad(mask.repeat_interleave(2, dim=0), (0, 3 + last), value=True)
    for kept, layer, expected in zip(
        written.kept, (2, 1), language_model.hidden_layers(ids, real, (2, 1)), strict=True
    ):
        assert kept.layer == layer
        torch.testing.assert_close(kept.states[real], expected[real], atol=1e-4, rtol=1e-4)


def test_reading_the_last_token_changes_nothing_that_is_written(language_model: LanguageModel) -> None:
    without, with_last = (
        write(language_model, *padded_queries(), r=4, keep_layers=(1,), keep_last=last) for last in (False, True)
    )
    assert torch.equal(without.tokens, with_last.tokens)
    torch.testing.assert_close(without.logprobs, with_last.logprobs)
