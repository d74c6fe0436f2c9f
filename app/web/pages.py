"""Answers in HTML: render a template, or lead to another page."""

from typing import Any, cast

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
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


def see_other(url: str) -> RedirectResponse:
    """Go on with a GET of `url`, so that Back and a double click stay harmless."""
    return RedirectResponse(url, status_code=303)
