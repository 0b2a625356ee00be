# pragma version ==0.4.3
"""
@title Rounds: the one call that starts, judges and settles them
@license Apache-2.0
@notice Mirrors `openflock.protocol.round`. Every phase has a deadline, after
        which anyone may move the task on; a phase that all have completed
        ends early; an act that nobody committed to is skipped.
"""


from interfaces import ITask
import ballots
import commitments
import errors
import payout
import phases
import record
import rules
import settlement
import sortition
import stakes
import types


uses: commitments
uses: payout
uses: phases
uses: record
uses: rules
uses: settlement
uses: sortition
uses: stakes


@external
def advance():
    """
    @notice See {ITask-advance}.
    """
    phase: uint256 = phases.phase
    errors._require(phase != types.FINISHED, "rounds: the task is over")
    log ITask.Advanced(sender=msg.sender)
    if phase == types.DRAW:
        self._draw()
        return
    over: bool = block.timestamp > phases.deadline or self._is_complete(phase)
    errors._require(over, "rounds: too early")
    if phase == types.GATHER:
        self._close_gathering()
    elif phase == types.PUBLISH and record.round.published == 0:
        self._end_round(types.EMPTY)
    elif phase == types.REVEAL:
        self._judge()
    elif phase == types.CONFIRM or phase == types.RECONFIRM:
        self._conclude(phase == types.RECONFIRM)
    else:
        self._leave_phase(phase)


@internal
@view
def _is_complete(phase: uint256) -> bool:
    """
    @dev Answers whether all who may act in this phase have; a probe never is,
         since anyone may still come.
    """
    if phase == types.GATHER or phase == types.PROBE:
        return False
    if phase == types.PROPOSE:
        return commitments.committed >= len(sortition.nodes[sortition.PROPOSERS])
    if phase == types.VOTE or phase == types.ATTEST:
        return commitments.committed >= len(sortition.nodes[sortition.VOTERS])
    if phase == types.REATTEST:
        return commitments.committed >= len(sortition.members)
    return commitments.opened == commitments.committed


@internal
def _enter(phase: uint256):
    """
    @dev Starts a phase; one to commit in starts its act.
    """
    if phase % 2 == 0:
        commitments._start_act()
    phases._enter(phase)


@internal
def _leave_phase(phase: uint256):
    """
    @dev Goes on from a phase that decides nothing; an act without commitments
         is skipped.
    """
    if commitments.committed > 0:
        self._enter(phase + 1)
    elif phase == types.PROPOSE:
        self._end_round(types.EMPTY)
    elif phase == types.VOTE or phase == types.REATTEST:
        self._end_round(types.VOID)
    else:
        self._enter(phase + 2)


@internal
def _close_gathering():
    """
    @dev Takes the snapshot of stakes and fixes the block whose hash will seed
         the draw, unknown to everybody.
    """
    if len(sortition.members) >= rules.RULES.min_nodes:
        phases._enter_until(types.DRAW, block.number + rules.RULES.seed_delay)
        return
    record.round.tries += 1
    if record.round.tries >= rules.RULES.max_tries:
        self._end_round(types.IDLE)
    else:
        self._enter(types.GATHER)


@internal
def _draw():
    """
    @dev Captures the seed and draws both committees; a seed that nobody
         captured in time is followed by another.
    """
    first: uint256 = phases.deadline
    errors._require(block.number > first, "rounds: no seed block yet")
    missed: uint256 = (block.number - 1 - first) // types.SEED_WINDOW
    if missed >= rules.RULES.max_tries:
        self._end_round(types.IDLE)
        return
    self._capture_seed(first + missed * types.SEED_WINDOW)
    self._draw_committees()
    self._reserve_budget()
    log ITask.Drawn(
        proposers=sortition.nodes[sortition.PROPOSERS],
        proposer_weights=sortition.weights[sortition.PROPOSERS],
        voters=sortition.nodes[sortition.VOTERS],
        voter_weights=sortition.weights[sortition.VOTERS],
        budget=record.round.budget,
    )
    self._enter(types.PROPOSE)


@internal
def _capture_seed(target: uint256):
    """
    @dev Mixes a block's hash with the salts of the last round; neither is
         known to who closed the snapshot.
    """
    hash: bytes32 = blockhash(target)
    errors._require(hash != empty(bytes32), "rounds: seed block is unknown")
    record.round.seed = keccak256(abi_encode(hash, commitments.salts, phases.number))
    log ITask.Seeded(target=target, blockhash=hash, seed=record.round.seed)


@internal
def _draw_committees():
    seed: bytes32 = record.round.seed
    proposer_seats: uint256 = rules.RULES.proposer_seats
    voter_seats: uint256 = rules.RULES.voter_seats
    record.round.total_stake = sortition.tree[1]
    record.round.everybody = len(sortition.members) <= proposer_seats
    record.round.proposer_weight = sortition._draw(sortition.PROPOSERS, proposer_seats, seed)
    record.round.voter_weight = sortition._draw(sortition.VOTERS, voter_seats, seed)


@internal
def _reserve_budget():
    budget: uint256 = payout._compute_budget(stakes.pool, phases.number)
    record.round.budget = budget
    stakes.pool -= budget


@internal
def _judge():
    """
    @dev Turns the opened ballots into verdicts; too few of them void the
         round.
    """
    votes: DynArray[ballots.Vote, types.MAX_SEATS] = settlement._get_votes()
    opened: uint256 = 0
    for vote: ballots.Vote in votes:
        opened += vote.weight
    few: bool = 3 * opened < 2 * record.round.voter_weight
    if few or len(votes) < rules.RULES.min_voters:
        self._end_round(types.VOID)
        return
    record.round.peer_seed = keccak256(abi_encode(record.round.seed, commitments.salts))
    if settlement._judge(votes):
        self._enter(types.ATTEST)
    else:
        self._end_round(types.UNCHANGED)


@internal
def _conclude(appeal: bool):
    """
    @dev Ends the round by what was attested; without two thirds for one
         digest all stake is asked, once.
    """
    total: uint256 = record.round.total_stake if appeal else record.round.voter_weight
    if 2 * record.round.vetoes >= total:
        self._end_round(types.VETOED)
    elif record.round.agreed.digest != empty(bytes32):
        if appeal:
            stakes.finals[phases.number] = record._hash_outcome(record.round.agreed)
        self._end_round(types.MERGED)
    elif appeal:
        self._end_round(types.VOID)
    else:
        record.round.vetoes = 0
        self._enter(types.REATTEST)


@internal
def _end_round(outcome: uint256):
    """
    @dev Settles the round and gathers for the next one, or ends the task.
    """
    settlement._settle(outcome)
    if stakes.cancelled or phases.number == rules.RULES.rounds:
        stakes._finish()
        return
    record._start_round()
    self._enter(types.GATHER)
