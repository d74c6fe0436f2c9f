"""Answers for browsers: render a template, hand out a table, or lead to another page."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, cast

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app import resources


def load_templates() -> Jinja2Templates:
    """The templates; a name that a template uses and nobody gave is an error."""
    loader = FileSystemLoader(resources.folder("templates"))
    return Jinja2Templates(env=Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True))


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page. `account` is always in the context: who is signed in, or None."""
    templates = cast(Jinja2Templates, request.app.state.templates)
    context.setdefault("account", getattr(request.state, "account", None))
    return templates.TemplateResponse(request, template, context, status_code=status)


def csv_file(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A table to download."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(head)
    table.writerows(rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def see_other(url: str) -> RedirectResponse:
    """Go on with a GET of `url`, so that Back and a double click stay harmless."""
    return RedirectResponse(url, status_code=303)
