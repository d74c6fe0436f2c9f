"""Markdown to HTML, without letting any HTML through."""

from markdown_it import MarkdownIt
from markupsafe import Markup

_parser = MarkdownIt("commonmark", {"html": False})


def render(text: str) -> Markup:
    """The text as HTML; its headings go one level down, for the page has its own."""
    tokens = _parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return Markup(_parser.renderer.render(tokens, _parser.options, {}))
