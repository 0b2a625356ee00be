"""Gas does not rise unseen, and no call can be made to need more than a chain lets one transaction burn.

With 4,096 nodes: `test_full_task.py`, a file of its own since it takes a minute.
"""

from dataclasses import replace
from functools import cache

import pytest

from .gas import FIRST
from .gas_table import COMMITTED, PAGE, check, compare, load, measure_key, render

TRANSACTION_LIMIT = 2**24  # EIP-7825

measure_once = cache(measure_key)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["16", "256", "largest"])
def test_no_call_burns_more_than_the_table_says(key):
    check(key, measure_once(key))


@pytest.mark.slow
def test_the_largest_committees_fit_in_their_transactions():
    worst = max(figure.worst for chapter in measure_once("largest").values() for figure in chapter.values())
    assert worst < TRANSACTION_LIMIT // 2


def test_the_page_shows_the_table():
    assert PAGE.read_text() == render(load(COMMITTED.read_text()))


@pytest.mark.parametrize(("change", "verb"), [(0, ""), (1, "rose"), (-1000, ""), (-2000, "fell")])
def test_a_rise_and_a_great_fall_are_told_with_the_figure(change, verb):
    figures = load(COMMITTED.read_text())["16"]
    old = figures[FIRST]["publish"]
    new = figures[FIRST]["publish"] = replace(old, worst=old.worst + change)
    told = f"{FIRST}, publish, worst: {verb} from {old.worst:,} to {new.worst:,} ({change:+,})"
    assert compare("16", figures) == ([told] if verb else [])


def test_a_call_that_comes_or_goes_is_told():
    figures = load(COMMITTED.read_text())["16"]
    figures[FIRST]["wave"] = figures[FIRST].pop("publish")
    assert {line.split(", ")[1].split(":")[0] for line in compare("16", figures)} == {"wave", "publish"}
