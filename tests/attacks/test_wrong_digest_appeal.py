"""Fear: a captured committee attests a wrong state; or honest nodes are slashed because a committee was captured."""

from openflock.protocol.calls import Leave, Resolve, Withdraw
from openflock.protocol.types import Act, Fault, Outcome, Phase

from ..protocol.helpers import (
    FREELOADER,
    NODES,
    OUTSIDER,
    PROPOSER,
    SKEPTIC,
    STAKE,
    VOTER,
    Play,
    advance,
    get_losses,
    get_outcome,
    make_commit,
    make_digest,
    make_opening,
    play_round,
)

RIGHT, WRONG = make_digest("right"), make_digest("wrong")
LIARS = (SKEPTIC, FREELOADER)


def lie(*acts, liars=LIARS):
    return Play(digest=lambda node, act: WRONG if node in liars and act in acts else RIGHT)


def stubborn(make_task):
    """A third holds out, so all stake is asked; all but one come round."""
    play = Play(digest=lambda node, act: WRONG if node in LIARS[act == Act.APPEAL :] else RIGHT)
    return play_round(make_task(), play)


def test_a_lying_third_cannot_settle_a_wrong_state(make_task):
    ledger = play_round(make_task(), lie(Act.ATTESTATION, Act.APPEAL))
    assert get_outcome(ledger) == Outcome.VOID
    assert ledger.state.digest == make_digest("genesis")


def test_what_an_appeal_decides_is_final_and_slashes_who_forced_it_even_if_it_came_round(make_task):
    ledger = stubborn(make_task)
    assert ledger.state.digest == RIGHT
    for node in NODES:
        ledger.submit(Resolve(OUTSIDER, node))
    losses = {node: get_losses(ledger, node) for node in NODES if get_losses(ledger, node)}
    assert losses == {liar: {Fault.WRONG_DIGEST: 400} for liar in LIARS}


def test_leaving_first_does_not_save_the_stake(make_task):
    ledger = stubborn(make_task)
    ledger.submit(Leave(FREELOADER))
    ledger.wait_until(ledger.state.nodes[FREELOADER].release)
    ledger.submit(Withdraw(FREELOADER))
    assert get_losses(ledger, FREELOADER) == {Fault.WRONG_DIGEST: 400}


def test_attesting_again_does_not_save_the_stake(make_task):
    ledger = stubborn(make_task)
    play_round(ledger, Play(digest=lambda node, act: RIGHT))
    assert get_losses(ledger, FREELOADER) == {Fault.WRONG_DIGEST: 400}


def test_an_undecided_appeal_slashes_nobody(make_task):
    ledger = play_round(make_task(), lie(Act.ATTESTATION, Act.APPEAL))
    for node in NODES:
        ledger.submit(Resolve(OUTSIDER, node))
        assert get_losses(ledger, node) == {}


def test_a_committee_s_majority_is_never_slashed_by_itself(make_task):
    """Without an appeal nothing proves a digest wrong: who was outvoted loses its pay and no stake."""
    ledger = play_round(make_task(), lie(Act.ATTESTATION, liars=[PROPOSER]))
    ledger.submit(Resolve(OUTSIDER, PROPOSER))
    assert ledger.state.nodes[PROPOSER].stake == STAKE


def test_wrong_duplicates_cost_what_a_wrong_digest_costs(make_task):
    """Who shares the pay is a part of the outcome: the right state with another word on duplicates is a lie too."""
    ledger = play_round(make_task(), Play(absent={Act.ATTESTATION: NODES}), until=Phase.REATTEST)
    openings = [
        make_opening(ledger.state, Play(originals={VOTER: PROPOSER} if node == FREELOADER else {}), Act.APPEAL, node)
        for node in NODES
    ]
    for opening in openings:
        ledger.submit(make_commit(ledger.state, Act.APPEAL, opening))
    advance(ledger)
    for opening in openings:
        ledger.submit(opening)
    advance(ledger)
    ledger.submit(Resolve(OUTSIDER, FREELOADER))
    assert get_losses(ledger, FREELOADER)[Fault.WRONG_DIGEST] == 400
    assert Fault.WRONG_DIGEST not in get_losses(ledger, VOTER)
