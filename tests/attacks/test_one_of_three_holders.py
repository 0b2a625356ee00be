"""Fear: one malicious of a domain's three holders rejects whatever the other two offer."""

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Flag, Phase, Verdict

from ..protocol.helpers import GOOD, STAKE, Play, get_verdict, make_address, play_round

MALICIOUS, *HOLDERS = NODES = tuple(
    make_address(f"holder {index} of {domain}") for domain in range(3) for index in range(3)
)
DOMAINS = {node: place // 3 for place, node in enumerate(NODES)}
SAME, OTHERS = HOLDERS[:2], HOLDERS[2:]
SEATS = {"proposer_seats": 9, "voter_seats": 9}


def say(make_task, word, malicious=(MALICIOUS,), **overrides):
    """A round in which the malicious say one word of all others' updates."""
    ledger = make_task(nodes=NODES, domains=DOMAINS, **SEATS, **overrides)
    play = Play(mark=lambda voter, proposer: word if voter in malicious and proposer not in malicious else GOOD)
    return play_round(ledger, play, until=Phase.ATTEST)


def get_verdicts(ledger, nodes):
    return {get_verdict(ledger, node) for node in nodes}


def test_one_of_three_holders_rejects_nothing(make_task):
    """Two voices are left beside the proposer's own, and one of them lies: an even split, which does not object."""
    ledger = say(make_task, Mark(-2048))
    assert get_verdicts(ledger, OTHERS) == {Verdict.PAID}
    assert get_verdicts(ledger, SAME) == {Verdict.UNPAID}


def test_not_even_without_a_quorum(make_task):
    assert Verdict.HARMFUL not in get_verdicts(say(make_task, Mark(-2048), domain_quorum=0), HOLDERS)


def test_one_that_outweighs_its_domain_still_needs_the_quorum(make_task):
    ledger = say(make_task, Mark(-2048), stakes={MALICIOUS: 3 * STAKE})
    assert Verdict.HARMFUL not in get_verdicts(ledger, HOLDERS)


@pytest.mark.parametrize("malicious", [NODES[:3], NODES[::3]], ids=["in one domain", "one in each"])
def test_a_third_of_all_rejects_nothing_wherever_it_sits(make_task, malicious):
    assert Verdict.HARMFUL not in get_verdicts(say(make_task, Mark(-2048), malicious), set(NODES) - set(malicious))


def test_a_third_of_all_makes_nothing_unavailable(make_task):
    verdicts = get_verdicts(say(make_task, Mark(flags=Flag.UNAVAILABLE), NODES[::3]), set(NODES) - set(NODES[::3]))
    assert verdicts <= {Verdict.PAID, Verdict.UNPAID}


def test_harm_that_one_domain_of_three_sees_alone_does_not_reject_an_update(make_task):
    """The price: what could reject it then could be the malicious third."""
    harmful = OTHERS[-1]
    ledger = make_task(nodes=NODES, domains=DOMAINS, **SEATS)
    harm = Play(mark=lambda voter, proposer: Mark(-2048) if proposer == harmful and DOMAINS[voter] == 0 else GOOD)
    assert get_verdict(play_round(ledger, harm, until=Phase.ATTEST), harmful) == Verdict.PAID


def test_harm_that_two_domains_of_three_see_rejects_it(make_task):
    harmful = OTHERS[-1]
    ledger = make_task(nodes=NODES, domains=DOMAINS, **SEATS)
    harm = Play(mark=lambda voter, proposer: Mark(-2048) if proposer == harmful and DOMAINS[voter] < 2 else GOOD)
    assert get_verdict(play_round(ledger, harm, until=Phase.ATTEST), harmful) == Verdict.HARMFUL
