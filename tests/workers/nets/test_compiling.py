"""Compiled blocks compute what plain ones compute."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from tests.workers.nets.tiny import FAMILIES, LAYERS, VOCABULARY, tiny_model
from workers.nets.compiling import compile_all, compile_blocks
from workers.nets.language_model import FINAL, LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import exact

pytestmark = [
    pytest.mark.usefixtures("fresh_compiler"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # the tracer's
]
TRACED = "aot_eager"
"""Traces forward and backward pass as a compiler does, and runs what it traced without one."""


def pair(family: str) -> tuple[Policy, Policy]:
    """A policy as it stands, and a compiled one of the same weights."""
    plain, compiled = (Policy(LanguageModel(tiny_model(family, seed=1, layers=4)), frozen_layers=1) for _ in range(2))
    compile_blocks(compiled.language_model, backend=TRACED)
    return plain, compiled


def texts(rows: int, query: int, response: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(0, VOCABULARY, (rows, query + response), generator=generator)
    mask = torch.arange(query) >= torch.arange(rows).unsqueeze(1) % 2
    return ids[:, :query], mask, ids[:, query:]


def learned(policy: Policy, rows: int, query: int, response: int) -> list[Tensor]:
    """What a pass says, and every gradient."""
    out = policy(*texts(rows, query, response), temperature=0.7)
    policy.zero_grad()
    (out.logprobs.mean() + out.values.mean()).backward()
    grads = [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]
    return [out.logprobs.detach(), out.values.detach(), *grads]


@pytest.mark.parametrize(
    "family", [family if family == "gpt2" else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
)
def test_passes_are_the_same_and_compiled_once_whatever_the_lengths(family: str) -> None:
    plain, compiled = pair(family)
    # A number of rows or tokens that is also one of the model's own would count as that, and be compiled for itself.
    for shape in ((5, 9, 3), (7, 10, 4), (3, 6, 5)):
        for one, other in zip(learned(plain, *shape), learned(compiled, *shape), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    # A frozen block, the first that trains, the one behind it: no block and no batch more. The last is run in parts.
    assert counters["stats"]["unique_graphs"] == 3
    assert not counters["graph_break"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_taken_and_put_in_as_before(family: str) -> None:
    plain, compiled = (policy.language_model for policy in pair(family))
    queries, mask, _ = texts(4, 6, 3)
    assert compiled.splits_at(1)
    with torch.no_grad():
        found = [model.hidden_layers(queries, mask, (1, LAYERS, FINAL)) for model in (plain, compiled)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one[mask], other[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_on_a_cpu_is_left_alone(family: str) -> None:
    queries, mask, _ = texts(4, 6, 3)
    written = [
        policy.generate(queries, mask, response_tokens=5, temperature=0.7, generator=torch.Generator().manual_seed(0))
        for policy in pair(family)
    ]
    assert torch.equal(written[0].tokens, written[1].tokens)
    assert torch.equal(written[0].logprobs, written[1].logprobs)
    assert not counters["stats"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler's own
def test_a_compiler_makes_the_same_of_it() -> None:
    plain, compiled = (Policy(LanguageModel(tiny_model("gpt2", seed=1))) for _ in range(2))
    compile_blocks(compiled.language_model)
    for one, other in zip(learned(plain, 4, 6, 3), learned(compiled, 4, 6, 3), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated", "ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_samples_the_same_from_compiled_blocks(family: str) -> None:
    plain, compiled = (Policy(LanguageModel(tiny_model(family, seed=1)).to("cuda")) for _ in range(2))
    compile_blocks(compiled.language_model)
    for rows, query, response, copies in ((4, 6, 9, 1), (5, 8, 12, 4)):
        queries, mask, _ = (part.to("cuda") for part in texts(rows, query, response))
        with exact():
            written = [
                policy.generate(
                    queries,
                    mask,
                    response_tokens=response,
                    temperature=0.7,
                    generator=torch.Generator("cuda").manual_seed(0),
                    samples_per_query=copies,
                )
                for policy in (plain, compiled)
            ]
        assert torch.equal(written[0].tokens, written[1].tokens)
        torch.testing.assert_close(written[0].logprobs, written[1].logprobs, rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 2  # queries, steps: of every layer and size, and none was given up


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler's own
def test_every_language_model_in_a_module_is_compiled_once() -> None:
    plain, compiled = pair("gpt2")
    before = compiled.language_model.blocks[0].forward
    compile_all(torch.nn.ModuleList([compiled, plain]))
    after = [policy.language_model.blocks[0].forward for policy in (plain, compiled)]
    assert after[1] is before
    assert type(after[0]) is type(before)
