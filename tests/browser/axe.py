"""What axe finds on a page, in the rules that the product promises."""

import os
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

Scheme = Literal["light", "dark"]

DESKTOP, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=375, height=812)
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
VIEWS: tuple[tuple[str, ViewportSize, Scheme], ...] = (
    ("a desk in light", DESKTOP, "light"),
    ("a phone in the dark", PHONE, "dark"),
)
"""What is wrong with colours shows in any width, what is wrong with widths in any colours."""


def violations(page: Page) -> list[tuple[str, str]]:
    """Rule and the element it is about."""
    found = Axe().run(page, options=WCAG).response["violations"]
    return [(one["id"], node["html"][:120]) for one in found for node in one["nodes"]]


def everywhere(page: Page) -> dict[str, object]:
    """What is wrong at a desk or on a phone: what axe finds, and a page that is wider than its window."""
    found: dict[str, object] = {}
    for name, size, scheme in VIEWS:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        if wrong := violations(page):
            found[name] = wrong
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > size["width"]:
            found[f"{name} is too wide"] = width
    return found


def picture(page: Page, name: str) -> None:
    """Kept, at a desk and on a phone, where somebody asked for pictures: `PICTURES=folder pytest ...`."""
    if folder := os.environ.get("PICTURES"):
        for view, size, scheme in VIEWS:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=Path(folder) / f"{name}-{view.split()[1]}.png", full_page=True)
