"""One round, as the contract runs it: state + call + moment -> next state and its events.

Every phase has a deadline, after which anyone may move the task on; a phase that all have completed ends early;
an act that nobody committed to is skipped. A call at exactly the deadline is still in time.
"""

from openflock.protocol import acts, stakes
from openflock.protocol.calls import (
    Advance,
    Call,
    Cancel,
    Claim,
    Commit,
    Confirm,
    Drawn,
    Entered,
    Event,
    Expose,
    Fund,
    Join,
    Judged,
    Leave,
    Publish,
    Resolve,
    Reveal,
    Seeded,
    TopUp,
    Withdraw,
    is_well_formed,
)
from openflock.protocol.commitment import hash_outcome
from openflock.protocol.hashing import hash_values
from openflock.protocol.payout import compute_budget
from openflock.protocol.rules import compute_phase_times
from openflock.protocol.settlement import judge_slot, settle
from openflock.protocol.sortition import compute_committee, compute_seed, compute_target, get_total
from openflock.protocol.stakes import Events, require
from openflock.protocol.types import (
    SEED_WINDOW,
    Act,
    Genesis,
    Moment,
    Outcome,
    Phase,
    Revert,
    Round,
    State,
    commit_phase,
    open_phase,
)
from openflock.protocol.verdict import MERGED_VERDICTS

# --- Helpers -------------------------------------------------------------------------------------------------


def is_complete(state: State) -> bool:
    """Answer whether all who may act in this phase have; a probe never is, since anyone may still come."""
    current = state.round
    expected = {
        Phase.PROPOSE: len(current.proposers),
        Phase.VOTE: len(current.voters),
        Phase.ATTEST: len(current.voters),
        Phase.REATTEST: len(state.members),
    }
    for act in Act:
        if state.phase == commit_phase(act) and act != Act.WITNESS:
            return current.committed.get(act, 0) >= expected[state.phase]
        if state.phase == open_phase(act):
            return current.opened.get(act, 0) == current.committed.get(act, 0)
    return False


def enter(state: State, events: Events, moment: Moment, phase: Phase) -> None:
    """Start a phase."""
    state.phase = phase
    state.deadline = moment.time + compute_phase_times(state.genesis.rules)[phase]
    events.append(Entered(state.round.number, phase, state.deadline))


# --- Genesis -------------------------------------------------------------------------------------------------


def create_state(genesis: Genesis) -> State:
    """Create a task: it gathers nodes for its first round."""
    first = Round(number=1)
    return State(genesis, genesis.rules.genesis, Phase.GATHER, genesis.time + genesis.rules.gather, first)


# --- Transitions ---------------------------------------------------------------------------------------------


def process_advance(state: State, events: Events, moment: Moment) -> None:
    """Move on: the one call that starts, judges and settles rounds."""
    require(state.phase != Phase.FINISHED, "rounds: the task is over")
    if state.phase == Phase.DRAW:
        draw(state, events, moment)
        return
    require(moment.time > state.deadline or is_complete(state), "rounds: too early")
    match state.phase:
        case Phase.GATHER:
            close_gathering(state, events, moment)
        case Phase.PUBLISH if not state.round.proposals:
            end_round(state, events, moment, Outcome.EMPTY)
        case Phase.REVEAL:
            judge(state, events, moment)
        case Phase.CONFIRM | Phase.RECONFIRM:
            conclude(state, events, moment)
        case _:
            leave_phase(state, events, moment)


def leave_phase(state: State, events: Events, moment: Moment) -> None:
    """Go on from a phase that decides nothing; an act without commitments is skipped."""
    empty = not state.round.committed.get(Act((state.phase - Phase.PROPOSE) // 2), 0)
    match state.phase:
        case Phase.PROPOSE if empty:
            end_round(state, events, moment, Outcome.EMPTY)
        case Phase.PROBE if empty:
            enter(state, events, moment, Phase.VOTE)
        case Phase.VOTE | Phase.REATTEST if empty:
            end_round(state, events, moment, Outcome.VOID)
        case Phase.ATTEST if empty:
            enter(state, events, moment, Phase.REATTEST)
        case _:
            enter(state, events, moment, Phase(state.phase + 1))


def close_gathering(state: State, events: Events, moment: Moment) -> None:
    """Take the snapshot of stakes and fix the block whose hash will seed the draw, unknown to everybody."""
    if len(state.members) < state.genesis.rules.min_nodes:
        state.round.tries += 1
        if state.round.tries >= state.genesis.rules.max_tries:
            end_round(state, events, moment, Outcome.IDLE)
        else:
            enter(state, events, moment, Phase.GATHER)
        return
    state.round.target = moment.block + state.genesis.rules.seed_delay
    state.phase, state.deadline = Phase.DRAW, state.round.target
    events.append(Entered(state.round.number, Phase.DRAW, state.deadline))


def draw(state: State, events: Events, moment: Moment) -> None:
    """Capture the seed and draw both committees; a seed that nobody captured in time is followed by another."""
    current, rules = state.round, state.genesis.rules
    require(moment.block > current.target, "rounds: no seed block yet")
    if (moment.block - 1 - current.target) // SEED_WINDOW >= rules.max_tries:
        end_round(state, events, moment, Outcome.IDLE)
        return
    target = compute_target(current.target, moment.block)
    blockhash = moment.hashes.get(target, bytes(32))
    require(blockhash != bytes(32), "rounds: seed block is unknown")
    current.seed = compute_seed(blockhash, state.salts, current.number)
    events.append(Seeded(target, blockhash, current.seed))
    current.total_stake = get_total(state.tree)
    current.everybody = len(state.members) <= rules.proposer_seats
    current.proposers = compute_committee(state.tree, state.members, rules.proposer_seats, current.seed, 0)
    current.voters = compute_committee(state.tree, state.members, rules.voter_seats, current.seed, 1)
    current.budget = compute_budget(rules, state.pool, current.number)
    state.pool -= current.budget
    events.append(_describe_draw(current))
    enter(state, events, moment, Phase.PROPOSE)


def _describe_draw(current: Round) -> Drawn:
    return Drawn(
        tuple(seat.node for seat in current.proposers),
        tuple(seat.weight for seat in current.proposers),
        tuple(seat.node for seat in current.voters),
        tuple(seat.weight for seat in current.voters),
        current.budget,
    )


def judge(state: State, events: Events, moment: Moment) -> None:
    """Turn the opened ballots into verdicts; too few of them void the round."""
    current, rules = state.round, state.genesis.rules
    drawn = sum(seat.weight for seat in current.voters)
    opened = sum(seat.weight for seat in current.voters if seat.node in current.ballots)
    if 3 * opened < 2 * drawn or len(current.ballots) < rules.min_voters:
        end_round(state, events, moment, Outcome.VOID)
        return
    current.peer_seed = hash_values(["bytes32", "bytes32"], [current.seed, state.salts])
    current.judgements = tuple(judge_slot(state, slot) for slot in range(len(current.proposers)))
    for slot in sorted(current.proposals):
        events.append(Judged(slot, current.judgements[slot].verdict, current.judgements[slot].benefit))
    if any(judgement.verdict in MERGED_VERDICTS for judgement in current.judgements):
        enter(state, events, moment, Phase.ATTEST)
    else:
        end_round(state, events, moment, Outcome.UNCHANGED)


def conclude(state: State, events: Events, moment: Moment) -> None:
    """End the round by what was attested; without two thirds for one digest all stake is asked, once."""
    current, appeal = state.round, state.phase == Phase.RECONFIRM
    total = current.total_stake if appeal else sum(seat.weight for seat in current.voters)
    if 2 * current.vetoes >= total:
        end_round(state, events, moment, Outcome.VETOED)
    elif current.agreed:
        if appeal:
            state.finals[current.number] = hash_outcome(current.agreed)
        end_round(state, events, moment, Outcome.MERGED)
    elif appeal:
        end_round(state, events, moment, Outcome.VOID)
    else:
        current.vetoes = 0
        enter(state, events, moment, Phase.REATTEST)


def end_round(state: State, events: Events, moment: Moment, outcome: Outcome) -> None:
    """Settle the round and gather for the next one, or end the task."""
    settle(state, events, outcome)
    state.ended = state.round
    if state.cancelled or state.round.number == state.genesis.rules.rounds:
        stakes.finish(state, events)
        return
    state.round = Round(state.round.number + 1)
    enter(state, events, moment, Phase.GATHER)


# --- The whole -----------------------------------------------------------------------------------------------


def process(state: State, call: Call, moment: Moment) -> tuple[State, tuple[Event, ...]]:
    """Give the state after a call and the events that followed; raise Revert and change nothing if it may not be."""
    require(is_well_formed(call), "rounds: malformed call")
    draft, events = state.copy(), list[Event]()
    match call:
        case Fund():
            stakes.process_fund(draft, call)
        case Cancel():
            stakes.process_cancel(draft, events, call)
        case Join():
            stakes.process_join(draft, call)
        case TopUp():
            stakes.process_top_up(draft, call)
        case Leave():
            stakes.process_leave(draft, call, moment)
        case Withdraw():
            stakes.process_withdraw(draft, events, call, moment)
        case Claim():
            stakes.process_claim(draft, events, call)
        case Resolve():
            stakes.process_resolve(draft, events, call)
        case Commit():
            acts.process_commit(draft, call, moment)
        case Publish():
            acts.process_publish(draft, call, moment)
        case Expose():
            acts.process_expose(draft, events, call, moment)
        case Reveal():
            acts.process_reveal(draft, call, moment)
        case Confirm():
            acts.process_confirm(draft, events, call, moment)
        case Advance():
            process_advance(draft, events, moment)
        case _:
            raise Revert("rounds: no such call")
    return draft, tuple(events)
