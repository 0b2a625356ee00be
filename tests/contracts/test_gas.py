"""Gas does not rise unseen, and no call can be made to need more than a chain lets one transaction burn.

What is burned depends on the contract's bytes and on what is called. So the table is of the bytes that ship, and one
column is measured each time, the others by `make test-long`; with 4,096 nodes: `test_full_task.py`.
"""

import json
from dataclasses import replace

import pytest

from .gas import FIRST
from .gas_table import COMMAND, COMMITTED, PAGE, check, compare, load, measure_key, name_contract, render

TRANSACTION_LIMIT = 2**24  # EIP-7825


def test_the_table_is_of_the_contract_that_ships():
    assert json.loads(COMMITTED.read_text())["contract"] == name_contract(), f"another contract: run `{COMMAND}`"


@pytest.mark.slow
@pytest.mark.parametrize("key", ["16", *(pytest.param(key, marks=pytest.mark.long) for key in ("256", "largest"))])
def test_no_call_burns_more_than_the_table_says(key):
    check(key, measure_key(key))


def test_the_largest_committees_fit_in_their_transactions():
    largest = load(COMMITTED.read_text())["largest"]
    worst = max(figure.worst for chapter in largest.values() for figure in chapter.values())
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
