"""The order of prompts."""

from app.hparams import preset
from workers.query_order import order_seed, query_order


def test_every_prompt_comes_once_before_any_comes_twice() -> None:
    first, second = list(query_order(7, start=0, count=7, seed=3)), list(query_order(7, start=7, count=7, seed=3))
    assert sorted(first) == sorted(second) == list(range(7))
    assert first != second


def test_the_order_of_prompts_is_the_same_however_it_is_cut() -> None:
    whole = list(query_order(7, start=0, count=20, seed=3))
    assert [*query_order(7, start=0, count=9, seed=3), *query_order(7, start=9, count=11, seed=3)] == whole
    assert list(query_order(7, start=0, count=20, seed=4)) != whole


def test_the_order_follows_the_run_unless_it_has_a_seed_of_its_own() -> None:
    small = preset("sentiment-small").model_copy(update={"seed": 5})
    assert order_seed(small) == 5
    assert order_seed(preset("sentiment-124m").model_copy(update={"seed": 5})) == 0
