"""Reading samples again: the reference finds its own samples as likely as when it wrote them; pieces make the text."""

from contextlib import nullcontext

import pytest
import torch

from app.hparams import preset
from tests.tiny import save_tiny_model
from workers.references import Reference
from workers.sampler import Sampler, sample_once
from workers.token_kl import read, token_ends

TASK = preset("sentiment-small").task.model_copy(
    update={"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1, "temperature": 0.8}
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A tiny model."""
    return Reference.load(save_tiny_model(tmp_path_factory.mktemp("tiny")))


def test_the_reference_finds_its_own_samples_as_likely_as_it_wrote_them(reference: Reference) -> None:
    texts = ["the sun was in the", "she", "he was sad and it was"] * 12  # more than one batch, of different lengths
    queries, mask = reference.encode(texts, TASK)
    sampler = Sampler(
        writer=reference.policy, decoder=reference.tokenizer, task=TASK, terminators=reference.terminators(TASK)
    )
    drawn = [draws[0] for draws in sample_once(sampler, queries, mask, seed=3)]
    kept = [draw.tokens[: draw.kept_tokens] for draw in drawn]
    assert len({len(ids) for ids in kept}) > 1
    found = read(reference, list(zip(texts, kept, strict=True)), TASK, nullcontext())
    for draw, reading in zip(drawn, found, strict=True):
        assert len(reading.logprobs) == len(reading.ends) == draw.kept_tokens
        torch.testing.assert_close(reading.logprobs, draw.logprobs[: draw.kept_tokens], atol=1e-4, rtol=1e-4)
        assert reading.ends[-1] == len(draw.text)


class Bytes:
    """A tokenizer whose tokens are bytes: a character may need several."""

    def decode(self, token_ids: list[int], **_: bool) -> str:
        """As byte-level tokenizers do it: what is no character yet is a replacement character."""
        return bytes(token_ids).decode(errors="replace")


def test_a_character_of_several_tokens_is_there_with_the_last_of_them() -> None:
    text = "a€ü"
    assert token_ends(Bytes(), list(text.encode())) == [1, 1, 1, 2, 2, 3]  # 1, 3 and 2 bytes
