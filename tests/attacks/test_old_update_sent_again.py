"""Fear: who trains nothing sends again what earlier rounds merged, under noise or mixed, and is paid a second time."""

from dataclasses import replace

import numpy as np
import pytest

from openflock.audit import AuditFailure, audit
from openflock.protocol.calls import Credited, Settled
from openflock.protocol.payout import is_stale
from openflock.protocol.types import Act, Outcome, Reason, Verdict
from openflock.update.codec import encode_update, make_update

from ..node.helpers import make_camp
from ..protocol.helpers import STAKE
from .nodes import PROPOSER, ROLES, VOTER, corrupt, get_outcomes, play

LAST = 3  # the round in which the factor of the first is trained again
NOISE = 0.15  # of the update's length


def send_again(*whose, noise=0.0):
    """Send in the last round the mean of what others had merged in the first."""

    def lie(node, state, act, opening):
        if act != Act.UPDATE or state.round.number != LAST:
            return opening
        base = node.reader.fetch_state(state.digest)
        past = node.reader.recall(base, state.merged)
        delta, draw = {}, np.random.default_rng(1)
        for factor in base.trained:
            size = base.layout.compute_size(factor)
            total = sum(past[slot].update.read(factor, 0, size) for slot in whose) / len(whose)
            blur = draw.normal(0, noise * np.sqrt(np.mean(total**2)), size)
            delta[factor] = np.rint(total + blur).astype(np.int64)
        blob = encode_update(make_update(base, delta))
        return replace(opening, digest=node.outbox.put(blob), size=len(blob))

    return lie


def pitch(path, **rules):
    """Four nodes of one domain, so that each update has three others to praise it."""
    camp = make_camp(path, **{"rounds": LAST, "min_stake": STAKE // 2, "bond": STAKE // 2, "tolerance": 2000, **rules})
    for role in ROLES:
        camp.pitch(role, 0)
    return camp


def get_last_pay(ledger, node):
    """What a node was paid for its update of the last round, and the verdict on it."""
    items = [entry.item for entry in ledger.read(0)]
    start = [at for at, item in enumerate(items) if isinstance(item, Settled)][-2]
    given = [item for item in items[start:] if isinstance(item, Credited) and item.account == node]
    return sum(item.amount for item in given if item.reason == Reason.PROPOSAL), get_last_verdict(ledger, node)


def get_last_verdict(ledger, node):
    ended = ledger.state.ended
    [slot] = [slot for slot, seat in enumerate(ended.proposers) if seat.node == node]
    return ended.judgements[slot].verdict, is_stale(ended.agreed.duplicates, slot)


def test_what_was_merged_before_is_merged_and_not_paid_again(tmp_path):
    camp = pitch(tmp_path)
    corrupt(camp, "proposer", send_again(2, noise=NOISE))
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED] * LAST
    assert get_last_pay(ledger, PROPOSER) == (0, (Verdict.PAID, True))
    assert not get_last_verdict(ledger, VOTER)[1]
    audit(camp.genesis, ledger.read(0), camp.reader.store)


def test_a_mixture_of_what_was_merged_before_is_found_as_well(tmp_path):
    camp = pitch(tmp_path)
    corrupt(camp, "proposer", send_again(2, 3))
    ledger = play(camp)
    paid, (_, is_old) = get_last_pay(ledger, PROPOSER)  # here it helps nobody, so it would earn nothing anyway
    assert (paid, is_old) == (0, True)
    audit(camp.genesis, ledger.read(0), camp.reader.store)


def test_beyond_the_bound_it_is_paid_so_it_is_the_bound_that_finds_it(tmp_path):
    camp = pitch(tmp_path, duplicate_cosine=1000)
    corrupt(camp, "proposer", send_again(2, noise=NOISE))
    paid, seen = get_last_pay(play(camp), PROPOSER)
    assert paid > 0
    assert seen == (Verdict.PAID, False)


def test_the_audit_names_voters_that_do_not_say_what_is_old(tmp_path):
    camp = pitch(tmp_path)

    def keep_quiet(node, state, act, opening):
        if act == Act.ATTESTATION:
            return replace(opening, duplicates=opening.duplicates % 2**64)
        return send_again(2)(node, state, act, opening) if node.identity.address == PROPOSER else opening

    for role in ROLES:
        corrupt(camp, role, keep_quiet)
    ledger = play(camp)
    with pytest.raises(AuditFailure, match=f"round {LAST}: the attested near-duplicates are not those"):
        audit(camp.genesis, ledger.read(0), camp.reader.store)
