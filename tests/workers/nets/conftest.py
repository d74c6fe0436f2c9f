from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters

from tests.workers.nets.tiny import FAMILIES, tiny_language_model
from workers.nets.language_model import LanguageModel


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def language_model(family: str) -> LanguageModel:
    return tiny_language_model(family)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing is compiled yet, and nothing is left behind."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
