"""docs/settings.md is what the code says, and every setting says what it is for."""

from app.settings import Settings
from scripts.settings_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m scripts.settings_page"


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
