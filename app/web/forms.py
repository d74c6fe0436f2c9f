"""Forms with files and repeated fields, and the orders made from them.

The body is read only once somebody of the right role has sent it: files may be large.
"""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from app import transfers, uploads
from app.errors import InvalidError
from app.orders import Order
from app.settings import Settings
from app.web.deps import ResearcherDep

OrderT = TypeVar("OrderT", bound=Order)


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it was sent."""

    form: FormData

    def text(self, name: str) -> str:
        """What was typed or chosen, without white space around it; empty if nothing was."""
        value = self.form.get(name)
        return value.strip() if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """All that was chosen."""
        return [value for value in self.form.getlist(name) if isinstance(value, str) and value]

    def is_on(self, name: str) -> bool:
        """Whether a box is ticked."""
        return bool(self.text(name))

    def file(self, name: str) -> UploadFile | None:
        """What was attached."""
        value = self.form.get(name)
        return value if not isinstance(value, str | None) and value.filename else None


NOTHING = Filled(FormData())
"""A form before it was filled in."""


async def _filled(request: Request, _: ResearcherDep) -> AsyncIterator[Filled]:
    async with request.form() as form:
        yield Filled(form)


FilledDep = Annotated[Filled, Depends(_filled)]
"""A researcher's form."""


def source_of(settings: Settings, form: Filled) -> str:
    """What names the file or data set of a form: a file is kept, and named in the field `kept` of the next try.

    Raises: InvalidError without either, or for a path of the server.
    """
    if (file := form.file("file")) is not None:
        with uploads.new_file(settings.home, file.filename or "") as (source, kept):
            shutil.copyfileobj(file.file, kept, 2**20)
        return source
    source = form.text("source") or form.text("kept")
    if source:
        transfers.require_reachable(settings.home, source)
    return source


def ordered(order: type[OrderT], **values: Any) -> OrderT:
    """An order of these values. Raises: InvalidError that names the fields that make no sense."""
    try:
        return order.model_validate(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidError("; ".join(fault.removeprefix(": ") for fault in faults)) from error
