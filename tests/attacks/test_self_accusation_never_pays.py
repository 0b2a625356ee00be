"""Fear: a proposer plants a backdoor, accuses itself through another account, and lives on bounties."""

from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Act, Fault, Flag, Reason

from ..protocol.helpers import (
    ACCUSER,
    NODES,
    PROPOSER,
    RIVAL,
    Play,
    against,
    get_credits,
    get_losses,
    make_ledger,
    play_round,
)

GUILTY = against(PROPOSER, Mark(0, Flag.SUSPECT))


def bounty(ledger, account):
    return get_credits(ledger, account).get(Reason.BOUNTY, 0)


@given(
    witnesses=st.dictionaries(st.sampled_from([ACCUSER, *NODES]), st.integers(100, 5000), min_size=1),
    slash=st.integers(0, 10_000),
    share=st.integers(0, 5000),
)
def test_all_bounties_together_are_at_most_half_of_what_was_taken(witnesses, slash, share):
    ledger = make_ledger(backdoor_slash=slash, bounty_share=share)
    play_round(ledger, Play(mark=GUILTY, witnesses={who: (PROPOSER, bond) for who, bond in witnesses.items()}))
    taken = get_losses(ledger, PROPOSER).get(Fault.BACKDOOR, 0)
    assert taken == 1000 * slash // 10_000
    assert 2 * sum(bounty(ledger, who) for who in witnesses) <= taken


def test_who_has_little_left_pays_little_bounty(make_task):
    """The bounty follows what was taken, not what should have been."""
    ledger = make_task(backdoor_slash=10_000, digest_slash=10_000, fee_cap=1000, no_show_fee=400, hidden_ballot_fee=400)
    play = Play(mark=GUILTY, witnesses={ACCUSER: (PROPOSER, 100)}, absent={Act.BALLOT: [PROPOSER]})
    play_round(ledger, play)
    assert get_losses(ledger, PROPOSER) == {Fault.NO_SHOW: 400, Fault.BACKDOOR: 600}
    assert bounty(ledger, ACCUSER) == 300


def test_outbidding_the_honest_witness_does_not_pay_either(make_task):
    """The culprit's own witnesses take the places, and the bounty; the other half is gone all the same."""
    own = {RIVAL: (PROPOSER, 500), NODES[4]: (PROPOSER, 500)}
    ledger = play_round(make_task(), Play(mark=GUILTY, witnesses={ACCUSER: (PROPOSER, 100), **own}))
    assert bounty(ledger, ACCUSER) == 0
    assert bounty(ledger, RIVAL) + bounty(ledger, NODES[4]) == 450 < get_losses(ledger, PROPOSER)[Fault.BACKDOOR]
