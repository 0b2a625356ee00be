from dataclasses import fields

import pytest

from openflock.protocol.rules import BadRules, Rules, compute_phase_times
from openflock.protocol.types import Phase

from .helpers import make_rules

BAD = [
    ("base", b"short"), ("genesis", "text"), ("bond", -1), ("bond", 1.0), ("full_benefit", 2**128),
    ("domains", 0), ("domains", 17), ("rounds", 0), ("rounds", 100_001),
    ("proposer_seats", 0), ("proposer_seats", 17), ("voter_seats", 2), ("voter_seats", 33),
    ("min_voters", 1), ("min_voters", 9), ("min_nodes", 2), ("min_nodes", 4097),
    ("gather", 0), ("confirm", 30 * 86_400 + 1), ("seed_delay", 0), ("seed_delay", 129),
    ("max_tries", 0), ("max_tries", 101), ("unbonding", 299), ("unbonding", 365 * 86_400 + 1),
    ("max_size", 0), ("max_size", 2**40), ("norm_ceiling", 0), ("tolerance", 2048), ("domain_quorum", 10_001),
    ("min_benefit", 0), ("min_benefit", 201), ("full_benefit", 2048), ("reject_unproven", 2),
    ("duplicate_cosine", 0), ("duplicate_cosine", 1001), ("witnesses", 0), ("witnesses", 5),
    ("bond", 0), ("bond", 1001), ("min_stake", 2**88 + 1), ("proposer_share", 10_001), ("inadmissible_slash", 10_001),
    ("backdoor_slash", 10_001), ("digest_slash", 10_001), ("agreement_share", 5001), ("bounty_share", 5001),
    ("no_show_fee", 26), ("hidden_ballot_fee", 41), ("fee_cap", 1001), ("witness_bond", 0), ("witness_bond", 2**88 + 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_rules_that_cannot_work_are_refused_by_name(name, value):
    with pytest.raises(BadRules, match=f"rules: .*{name}"):
        make_rules(**{name: value})


def test_a_committee_needs_as_many_nodes_as_voters():
    with pytest.raises(BadRules, match="too few nodes"):
        make_rules(min_voters=5, min_nodes=4)


def test_unbonding_must_outlast_a_round_with_its_appeal():
    assert make_rules(unbonding=300).unbonding == sum(compute_phase_times(make_rules()))


def test_every_phase_has_a_time_and_the_appeal_has_the_attestation_s():
    times = compute_phase_times(make_rules(attest=7, confirm=8))
    assert len(times) == len(Phase)
    assert times[Phase.ATTEST : Phase.FINISHED] == (7, 8, 7, 8)
    assert times[Phase.DRAW] == times[Phase.FINISHED] == 0


def test_every_number_has_bounds():
    for field in fields(Rules):
        with pytest.raises(BadRules):
            make_rules(**{field.name: 2**128})
