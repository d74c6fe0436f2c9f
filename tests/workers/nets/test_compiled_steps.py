"""Decode steps through compiled blocks write what plain ones write."""

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tests.workers.nets.tiny import FAMILIES, random_ids, tiny_language_model
from workers.nets.compiling import cast_ahead, compile_blocks
from workers.nets.generation import Generated, generate
from workers.nets.language_model import LanguageModel
from workers.nets.precision import autocast

pytestmark = pytest.mark.usefixtures("fresh_compiler")
TRACED = "aot_eager"
"""Traces a step as a compiler does, and runs what it traced without one."""
SHAPES = ((5, 9, 7, 2), (7, 10, 5, 3), (3, 6, 8, 3))
"""Queries, their tokens, tokens written, samples of each; with one sample of each CPUs compile once more."""
SCRIPT_WARNING = "ignore:`torch.jit.script_method` is deprecated"


def pair(family: str, *, backend: str = TRACED) -> tuple[LanguageModel, LanguageModel]:
    """A model as it stands, and one of the same weights whose steps are compiled."""
    plain, compiled = (tiny_language_model(family, seed=1) for _ in range(2))
    compile_blocks(compiled, backend=backend, steps_on=("cpu",))
    return plain, compiled


def written(model: LanguageModel, shape: tuple[int, int, int, int], *, bf16: bool = False) -> Generated:
    rows, query, response, samples = shape
    with autocast("cpu", bf16):
        return generate(
            model,
            random_ids(rows, query, seed=rows),
            torch.arange(query) >= torch.arange(rows).unsqueeze(1) % 2,
            response_tokens=response,
            temperature=0.7,
            generator=torch.Generator().manual_seed(0),
            samples_per_query=samples,
            read_value=lambda hidden: hidden.mean(dim=-1),
            keep_layers=(1,),
        )


def assert_same(one: Generated, other: Generated, *, tolerance: float) -> None:
    """Tokens, and to rounding log-probabilities, values and the hidden states kept on the way."""
    assert torch.equal(one.tokens, other.tokens)
    assert one.values is not None
    assert other.values is not None
    (mine,), (theirs,) = one.kept, other.kept
    parts = ((one.logprobs, other.logprobs), (one.values, other.values), (mine.states, theirs.states))
    for found, expected in parts:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "family", [family if family == "gpt2" else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
)
def test_steps_are_the_same_and_compiled_once_for_all_layers_and_sizes(family: str) -> None:
    plain, compiled = pair(family)
    for shape in SHAPES:
        assert_same(written(plain, shape), written(compiled, shape), tolerance=1e-5)
    assert counters["stats"]["unique_graphs"] == 2  # queries, steps
    assert not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_are_the_same_under_autocast(family: str) -> None:
    plain, compiled = pair(family)
    with torch._dynamo.config.patch(recompile_limit=1):  # sampling has a limit of its own
        for shape in SHAPES[:2]:
            assert_same(written(plain, shape, bf16=True), written(compiled, shape, bf16=True), tolerance=1e-5)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings(SCRIPT_WARNING)  # the compiler's own
def test_a_compiler_makes_the_same_of_a_step() -> None:
    plain, compiled = pair("gpt2", backend="inductor")
    assert_same(written(plain, SHAPES[0]), written(compiled, SHAPES[0]), tolerance=1e-4)
    assert counters["stats"]["unique_graphs"] == 2


def test_weights_of_compiled_blocks_are_cast_once_and_come_back() -> None:
    plain, compiled = pair("gpt2")
    before = dict(compiled.named_parameters())
    with autocast("cpu", True), cast_ahead(compiled):
        inside = {name: value.dtype for name, value in compiled.named_parameters()}
    cast = {name for name, dtype in inside.items() if dtype == torch.bfloat16}
    assert cast == {name for name in before if ".h." in name and ".ln_" not in name}  # products; not norms, embeddings
    assert all(value is before[name] for name, value in compiled.named_parameters())
    with cast_ahead(compiled):  # no autocast: nothing to do
        assert all(value is before[name] for name, value in compiled.named_parameters())
    with autocast("cpu", True), cast_ahead(plain):
        assert {value.dtype for value in plain.parameters()} == {torch.float32}


class Looking(nn.Module):
    """An activation that looks at a number on the host, which no compiler follows."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * (2.0 if float(hidden.sum()) > 0 else 0.5)


def test_blocks_that_cannot_be_traced_run_as_they_stand_and_are_tried_once() -> None:
    plain, compiled = pair("gpt2")
    for block in (*plain.blocks, *compiled.blocks):
        block.get_submodule("mlp").act = Looking()
    plain.splits_last = compiled.splits_last = False  # it looks at all tokens at once
    with capture_logs() as logs:
        for shape in SHAPES[:2]:
            assert_same(written(plain, shape), written(compiled, shape), tolerance=0.0)
    assert [entry["event"] for entry in logs] == ["decoding_not_compiled"]
    assert logs[0]["reason"]
    assert not counters["stats"]["unique_graphs"]
