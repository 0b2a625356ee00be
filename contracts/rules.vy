# pragma version ==0.4.3
"""
@title Rules: every number that all nodes of a task must agree on
@license Apache-2.0
@notice Mirrors `openflock.protocol.rules`, which says in words what each
        number is for, and which one cannot work; here a reason names only the
        group. Rules are fixed when the task is created.
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
    times: uint256[12] = self._compute_times(rules)
    errors._require(self._are_committees_sound(rules), "rules: committees")
    errors._require(self._are_phases_sound(rules, times), "rules: phases")
    errors._require(self._is_judging_sound(rules), "rules: judging")
    errors._require(self._is_money_sound(rules), "rules: money")
    RULES = rules
    TIMES = times


@internal
@pure
def _compute_times(rules: ITask.Rules) -> uint256[12]:
    """
    @dev The appeal has the times of the attestation.
    """
    return [
        rules.gather,
        0,
        rules.propose,
        rules.publish,
        rules.probe,
        rules.expose,
        rules.vote,
        rules.reveal,
        rules.attest,
        rules.confirm,
        rules.attest,
        rules.confirm,
    ]


@internal
@pure
def _is_within(number: uint256, low: uint256, high: uint256) -> bool:
    return number >= low and number <= high


@internal
@pure
def _are_committees_sound(rules: ITask.Rules) -> bool:
    fewest: uint256 = max(3, rules.min_voters)
    return (
        self._is_within(rules.domains, 1, 16)
        and self._is_within(rules.rounds, 1, 100_000)
        and self._is_within(rules.proposer_seats, 1, types.MAX_PROPOSERS)
        and self._is_within(rules.voter_seats, 3, types.MAX_SEATS)
        and self._is_within(rules.min_voters, 2, rules.voter_seats)
        and self._is_within(rules.min_nodes, fewest, types.MAX_NODES)
    )


@internal
@pure
def _are_phases_sound(rules: ITask.Rules, times: uint256[12]) -> bool:
    round_time: uint256 = 0
    for phase: uint256 in range(12):
        if phase != types.DRAW and not self._is_within(times[phase], 1, 30 * DAY):
            return False
        round_time += times[phase]
    return (
        self._is_within(rules.seed_delay, 1, 128)
        and self._is_within(rules.max_tries, 1, 100)
        and self._is_within(rules.unbonding, round_time, 365 * DAY)
    )


@internal
@pure
def _is_judging_sound(rules: ITask.Rules) -> bool:
    return (
        self._is_within(rules.max_size, 1, 2**40 - 1)
        and self._is_within(rules.norm_ceiling, 1, 2**128 - 1)
        and rules.tolerance <= MAX_SCORE
        and rules.domain_quorum <= SHARE
        and self._is_within(rules.min_benefit, 1, rules.full_benefit)
        and rules.full_benefit <= MAX_SCORE
        and rules.reject_unproven <= 1
        and self._is_within(rules.duplicate_cosine, 1, 1000)
        and self._is_within(rules.witnesses, 1, types.MAX_WITNESSES)
    )


@internal
@pure
def _is_money_sound(rules: ITask.Rules) -> bool:
    slash: uint256 = max(rules.inadmissible_slash, max(rules.backdoor_slash, rules.digest_slash))
    return (
        self._is_within(rules.bond, 1, rules.min_stake)
        and rules.min_stake <= types.MAX_STAKE
        and max(slash, rules.proposer_share) <= SHARE
        and max(rules.agreement_share, rules.bounty_share) <= SHARE // 2
        and rules.no_show_fee <= rules.hidden_ballot_fee
        and rules.hidden_ballot_fee <= rules.fee_cap
        and rules.fee_cap <= rules.bond
        and self._is_within(rules.witness_bond, 1, types.MAX_STAKE)
    )
