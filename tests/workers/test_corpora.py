"""Cleaning of the published tasks, on texts with their known blemishes."""

import pytest

from app.orders import Like
from workers.corpora import CORPORA, clean_news, clean_text, corpus_of, highlights

BODY = "The mayor said the bridge will open in May. Nobody objected.\n\nWork began in March."


@pytest.mark.parametrize(
    "blemished",
    [
        f"LONDON, England (CNN) -- {BODY}",
        f"(CNN) -- {BODY}",
        f"(CNN){BODY}",
        f"Washington (CNN) {BODY}",
        f"By Ann Smith\nReporter\n{BODY}",
        f"By .\nAnn Smith\nPUBLISHED: 10:01 EST, 2 May 2013\n|\nUPDATED: 12:34 EST, 3 May 2013\n{BODY}",
        f"By Ann Smith\n\nand Joe\n{BODY}",
        f"{BODY}\n\n\n\n\n@highlight\n\nBridge opens\n\n@highlight\n\nNobody objects",
        BODY.replace("\n\n", "\n\n\n\n"),
        f"\n {BODY}  ",
    ],
)
def test_an_article_loses_what_is_no_article(blemished: str) -> None:
    assert clean_news(blemished) == BODY


def test_quotation_marks_become_straight_and_broken_letters_whole() -> None:
    assert clean_news("He said ‘no’ and “never”.") == "He said 'no' and \"never\"."
    assert clean_text("The cafÃ© was shut. âœ” Done") == "The café was shut. ✔ Done"


def test_what_an_article_quotes_further_down_stays() -> None:
    long = "The channel grew. " * 20
    assert clean_news(f"{long}He works at (CNN) today.") == f"{long}He works at (CNN) today."
    stamped = "A line of news.\n" * 100 + "UPDATED: 10:00 on 1 May 2014, the sign read."
    assert clean_news(stamped) == stamped
    for opening in (
        "Byron wrote it.",
        "By and large the town, which had seen three mayors in as many years, was content with this one.",
    ):
        assert clean_news(f"{opening}\nOne more line.") == f"{opening}\nOne more line."


def test_a_post_keeps_its_words() -> None:
    assert clean_text("  So I (CNN) asked.\n\n\n\nHe said ‘no’.\n") == "So I (CNN) asked.\n\nHe said 'no'."


def test_highlights_are_the_summary_each_with_its_period() -> None:
    assert highlights("Body.\n\n@highlight\n\nBridge opens\n\n@highlight\n\nNobody objects!") == (
        "Bridge opens.\nNobody objects!"
    )
    assert highlights("Body.") is None


def test_public_ids_name_their_corpus() -> None:
    assert corpus_of("abisee/cnn_dailymail") == corpus_of("cnndm") == Like.CNNDM
    assert corpus_of("webis/tldr-17") == Like.TLDR
    assert corpus_of("rojagtap/bookcorpus") == Like.BOOKS
    assert corpus_of("somebody/else") is None
    assert set(CORPORA) == set(Like)
