import pytest

from tests.workers.nets.tiny import FAMILIES, tiny_language_model
from workers.nets.language_model import LanguageModel


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def language_model(family: str) -> LanguageModel:
    return tiny_language_model(family)
