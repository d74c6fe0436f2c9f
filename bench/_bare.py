"""Stand-ins for pydantic and structlog, for benchmarks on machines that have PyTorch and transformers and nothing else.

Settings get their defaults and nothing is validated; nothing is logged. Only what `app.hparams` and `workers.rlhf` use.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MISSING = object()


class _Field:
    def __init__(self, default: Any = MISSING, *, default_factory: Callable[[], Any] | None = None, **_: Any) -> None:
        self.default, self.factory = default, default_factory

    def made(self) -> Any:
        return self.factory() if self.factory else self.default


class _BaseModel:
    def __init_subclass__(cls, **_: Any) -> None:
        super().__init_subclass__()

    def __init__(self, **values: Any) -> None:
        for base in reversed(type(self).__mro__):
            for name in vars(base).get("__annotations__", {}):
                default = getattr(type(self), name, MISSING)
                default = default.made() if isinstance(default, _Field) else default
                self.__dict__[name] = values.get(name, default)

    def model_copy(self, *, update: dict[str, Any] | None = None) -> "_BaseModel":
        return type(self)(**self.__dict__ | (update or {}))


def _undecorated(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


class _Silent:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def stand_in() -> list[str]:
    """Put the stand-ins where the packages are missing; their names."""
    missing = [name for name in ("pydantic", "structlog") if not _there(name)]
    if "pydantic" in missing:
        pydantic = ModuleType("pydantic")
        pydantic.__dict__.update(
            BaseModel=_BaseModel,
            ConfigDict=dict,
            Field=_Field,
            ValidationError=ValueError,
            field_validator=_undecorated,
            model_validator=_undecorated,
        )
        sys.modules["pydantic"] = pydantic
    if "structlog" in missing:
        structlog = ModuleType("structlog")
        structlog.__dict__.update(get_logger=lambda *_: _Silent())
        sys.modules["structlog"] = structlog
    return missing


STOOD_IN = stand_in()
"""On import, which must therefore come first."""
