# pragma version ==0.4.3
"""
@title Rules: every number that all nodes of a task must agree on
@license Apache-2.0
@notice Mirrors `openflock.protocol.rules`, which says in words what each
        check below is for. Rules are fixed when the task is created.
"""


from interfaces import ITask
import errors
import types


SHARE: constant(uint256) = 10_000  # shares are in basis points
DAY: constant(uint256) = 86_400
MAX_SCORE: constant(uint256) = 2047  # of a ballot's 12 signed bits


RULES: immutable(ITask.Rules)
TIMES: immutable(uint256[12])  # seconds of each phase


@deploy
def __init__(rules: ITask.Rules):
    """
    @notice Refuses rules under which the task could not keep its promises.
    @param rules All that must be agreed.
    """
    self._check_committees(rules)
    self._check_phases(rules)
    self._check_judging(rules)
    self._check_money(rules)
    RULES = rules
    TIMES = self._compute_times(rules)


@internal
@pure
def _compute_times(rules: ITask.Rules) -> uint256[12]:
    """
    @dev The appeal has the times of the attestation.
    """
    return [
        rules.gather, 0, rules.propose, rules.publish, rules.probe, rules.expose,
        rules.vote, rules.reveal, rules.attest, rules.confirm, rules.attest, rules.confirm,
    ]


@internal
@pure
def _is_within(number: uint256, low: uint256, high: uint256) -> bool:
    return number >= low and number <= high


@internal
@pure
def _check_committees(rules: ITask.Rules):
    errors._require(self._is_within(rules.domains, 1, 16), "rules: domains")
    errors._require(self._is_within(rules.rounds, 1, 100_000), "rules: rounds")
    errors._require(self._is_within(rules.proposer_seats, 1, types.MAX_PROPOSERS), "rules: proposer_seats")
    errors._require(self._is_within(rules.voter_seats, 3, types.MAX_SEATS), "rules: voter_seats")
    errors._require(self._is_within(rules.min_voters, 2, rules.voter_seats), "rules: min_voters")
    fewest: uint256 = max(3, rules.min_voters)
    errors._require(self._is_within(rules.min_nodes, fewest, types.MAX_NODES), "rules: min_nodes")


@internal
@pure
def _check_phases(rules: ITask.Rules):
    times: uint256[12] = self._compute_times(rules)
    round_time: uint256 = 0
    for phase: uint256 in range(12):
        round_time += times[phase]
        timed: bool = phase == types.DRAW or self._is_within(times[phase], 1, 30 * DAY)
        errors._require(timed, "rules: a phase's time")
    errors._require(self._is_within(rules.seed_delay, 1, 128), "rules: seed_delay")
    errors._require(self._is_within(rules.max_tries, 1, 100), "rules: max_tries")
    errors._require(self._is_within(rules.unbonding, round_time, 365 * DAY), "rules: unbonding")


@internal
@pure
def _check_judging(rules: ITask.Rules):
    errors._require(self._is_within(rules.max_size, 1, 2**40 - 1), "rules: max_size")
    errors._require(self._is_within(rules.norm_ceiling, 1, 2**128 - 1), "rules: norm_ceiling")
    errors._require(rules.tolerance <= MAX_SCORE, "rules: tolerance")
    errors._require(rules.domain_quorum <= SHARE, "rules: domain_quorum")
    errors._require(self._is_within(rules.min_benefit, 1, rules.full_benefit), "rules: min_benefit")
    errors._require(rules.full_benefit <= MAX_SCORE, "rules: full_benefit")
    errors._require(rules.reject_unproven <= 1, "rules: reject_unproven")
    errors._require(self._is_within(rules.duplicate_cosine, 1, 1000), "rules: duplicate_cosine")
    errors._require(self._is_within(rules.witnesses, 1, types.MAX_WITNESSES), "rules: witnesses")


@internal
@pure
def _check_money(rules: ITask.Rules):
    errors._require(self._is_within(rules.bond, 1, rules.min_stake), "rules: bond")
    errors._require(rules.min_stake <= types.MAX_STAKE, "rules: min_stake")
    slash: uint256 = max(rules.inadmissible_slash, max(rules.backdoor_slash, rules.digest_slash))
    errors._require(max(slash, rules.proposer_share) <= SHARE, "rules: a share")
    errors._require(max(rules.agreement_share, rules.bounty_share) <= SHARE // 2, "rules: a share")
    fees_rise: bool = rules.no_show_fee <= rules.hidden_ballot_fee
    errors._require(fees_rise and rules.hidden_ballot_fee <= rules.fee_cap, "rules: fees")
    errors._require(rules.fee_cap <= rules.bond, "rules: fees")
    errors._require(self._is_within(rules.witness_bond, 1, types.MAX_STAKE), "rules: witness_bond")
