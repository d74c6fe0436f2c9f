"""Comparisons with texts as people meet them."""

from sqlalchemy.orm import Session

from app.models import Run
from tests.factories import make_comparison, make_prompt

STORIES = (
    (
        "Nobody in the village had seen snow before, so when the first flakes fell on the market that morning, the "
        "traders put down their baskets and looked up, and old Teresa, who had sold onions there for forty years,",
        (
            " held out her apron to catch them, laughing like a girl, and by noon the whole square was dancing.",
            " held out her apron to catch them, and went home early because her hands were cold.",
            " said that it was ash from the mountain and that all of them ought to run while they could.",
            " counted her onions again, for she thought that somebody had used the moment to steal two of them.",
        ),
    ),
    (
        "The train was two hours late when Mira saw her brother at the far end of the platform, and",
        (
            " he ran toward her with open arms. They talked all the way home, happier than they had been in years.",
            " he did not wave. She counted the windows of the carriage and wondered what she would say to him.",
            " he was asleep on the bench under the clock, with his hat over his face.",
            " he turned away as soon as he had seen her, and she knew that the letter had reached him.",
        ),
    ),
    (
        "The piano had stood silent for eleven years until the new neighbours knocked and",
        (
            " asked to play. By nightfall the house was full of friends who sang along.",
            " asked whether it was for sale. The widow said she would have to think about it for a while.",
            " complained about the noise, although nobody had touched it.",
            " told her that her cat had got into their cellar again.",
        ),
    ),
)
POST = """SUBREDDIT: r/relationships
TITLE: My roommate keeps eating my food

I (21F) moved in with Dana (22F) in September. We knew each other a little from class and everything was fine
until about a month ago, when I noticed that things were missing from my half of the fridge: first some
cheese, then half a lasagne that I had cooked for the whole week. I thought that she had made a mistake, so I
labelled everything with my name and a date. It went on. Last week I talked to her about it. She said that she
was sorry, that she had been stressed because of her exams, and that it would not happen again. I believed
her. On Sunday I came home from work at ten in the evening and the soup that I had left for that night was
gone, with the label still on the empty box.

I am not rich. I work two evenings a week and plan my meals because I have to. I do not want to buy a lock for
the fridge like in a bad film, and I do not want to start a war either, because we share the lease until June
and neither of us can pay for the flat alone. My sister says that I should eat her food and see how she likes
it. My mother says that I should cook for both of us and let her pay half, but I do not want to cook for
somebody who steals from me.

How do I make it stop without a fight that lasts until summer?
"""
SUMMARIES = (
    "Roommate (22F) still eats my labelled food although we talked about it; how do I make it stop without a fight, as "
    "we share the lease until June?",
    "I moved in with Dana in September. We knew each other a little from class and everything was fine until about a "
    "month ago, when I noticed that things were missing from my half of the fridge.",
    "Roommate eats my food. I labelled my food. She eats my food although I labelled it. What can I do about my "
    "roommate who eats my food?",
    "My roommate stole my soup, so I am moving out in June and my sister will eat her food until then.",
)


def stories(session: Session, run: Run, rounds: int = 4) -> None:
    """Comparisons with as many samples as the run compares."""
    for number in range(rounds):
        for prompt, texts in STORIES:
            words = prompt if number == 0 else f"{number}. {prompt}"
            cut = texts[: run.hparams["task"]["samples_per_comparison"]]
            make_comparison(session, run, prompt=make_prompt(session, text=words), texts=cut)


def posts(session: Session, run: Run, rounds: int = 4) -> None:
    """A long post with four summaries, again and again."""
    head, *paragraphs = POST.strip().split("\n\n")
    post = "\n\n".join([head, *(" ".join(paragraph.splitlines()) for paragraph in paragraphs)])
    for number in range(rounds):
        make_comparison(session, run, prompt=make_prompt(session, text=f"{post}\n\n({number})"), texts=SUMMARIES)
