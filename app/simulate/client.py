"""How a simulated person gets in: as people do, by the page of their link."""

from urllib.parse import urlsplit

from app.client import Transport
from app.errors import UnauthorizedError


def sign_in(site: Transport, link: str, token: str) -> None:
    """Open the link and press its button, or, if it is used up by now, paste the token; keeps the cookie."""
    page = urlsplit(link).path
    site.get_page(page)
    pressed = site.post_form(page)
    if not pressed.has_redirect_location:  # used up by a try whose answer was lost
        pressed = site.post_form("/signin", {"secret": token})
    if not pressed.has_redirect_location:
        raise UnauthorizedError(f"Signing in failed with status {pressed.status_code}.")
