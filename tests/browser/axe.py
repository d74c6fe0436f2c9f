"""What axe finds on a page, in the rules that the product promises."""

from collections.abc import Iterator
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

Scheme = Literal["light", "dark"]

DESKTOP, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=375, height=812)
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def violations(page: Page) -> list[tuple[str, str]]:
    """Rule and the element it is about."""
    found = Axe().run(page, options=WCAG).response["violations"]
    return [(one["id"], node["html"][:120]) for one in found for node in one["nodes"]]


def views(page: Page) -> Iterator[tuple[str, Scheme]]:
    """The page at a desk and on a phone, light and dark: what to call each."""
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        for scheme in SCHEMES:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            yield f"{name} {scheme}", scheme


def everywhere(page: Page) -> dict[str, object]:
    """What is wrong in any of these views: what axe finds, and a page that is wider than its window."""
    found: dict[str, object] = {}
    for name, _ in views(page):
        if wrong := violations(page):
            found[name] = wrong
        width = page.evaluate("document.documentElement.scrollWidth")
        if page.viewport_size and width > page.viewport_size["width"]:
            found[f"{name} is too wide"] = width
    return found
