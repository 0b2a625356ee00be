"""Stakes: every movement of money. What leaves one account enters another, so the task owes what it holds.

Stake rises, and members come and go, only while a task gathers: from the snapshot to the draw the tree stands
still, so nobody who knows the seed's block can change what is drawn from.
"""

from dataclasses import replace

from openflock.protocol.calls import (
    Cancel,
    Claim,
    Credited,
    Entered,
    Event,
    Fund,
    Join,
    Leave,
    Resolve,
    Sent,
    Slashed,
    TopUp,
    Withdraw,
)
from openflock.protocol.rules import SHARE
from openflock.protocol.sortition import set_leaf
from openflock.protocol.types import (
    BURN_ADDRESS,
    MAX_NODES,
    MAX_POOL,
    MAX_STAKE,
    Address,
    Amount,
    Fault,
    Moment,
    Node,
    Phase,
    Reason,
    Revert,
    State,
)

Events = list[Event]


def require(holds: bool, reason: str) -> None:
    """Revert unless a condition holds."""
    if not holds:
        raise Revert(reason)


# --- Helpers -------------------------------------------------------------------------------------------------


def get_node(state: State, address: Address) -> Node:
    """Read a node that must exist."""
    require(address in state.nodes, "stakes: not a node")
    return state.nodes[address]


def place_member(state: State, address: Address) -> None:
    """Make a node's leaf agree with its stake: members hold at least the minimum and are not leaving."""
    node = state.nodes[address]
    eligible = node.stake >= state.genesis.rules.min_stake and not node.release
    if address not in state.members:
        if not eligible:
            return
        require(len(state.members) < MAX_NODES, "stakes: the task is full")
        state.members.append(address)
    position = state.members.index(address)
    if eligible:
        set_leaf(state.tree, position, node.stake)
    else:
        remove_member(state, position)


def remove_member(state: State, position: int) -> None:
    """Take a member out; the last one moves into its place."""
    last = state.members.pop()
    set_leaf(state.tree, len(state.members), 0)
    if position < len(state.members):
        state.members[position] = last
        set_leaf(state.tree, position, state.nodes[last].stake)


def slash(state: State, events: Events, address: Address, fault: Fault, amount: Amount) -> Amount:
    """Take up to `amount` from a node and return what was taken; the caller says where it goes."""
    node = state.nodes.get(address)
    taken = min(node.stake, amount) if node else 0
    if node and taken:
        state.nodes[address] = replace(node, stake=node.stake - taken)
        place_member(state, address)
        events.append(Slashed(address, fault, taken))
    return taken


def credit(state: State, events: Events, account: Address, reason: Reason, amount: Amount) -> None:
    """Let an account claim an amount."""
    if amount:
        state.payable[account] = state.payable.get(account, 0) + amount
        events.append(Credited(account, reason, amount))


def burn(state: State, events: Events, amount: Amount) -> None:
    """Give an amount to nobody: a slash that paid somebody would be worth causing."""
    credit(state, events, BURN_ADDRESS, Reason.BURN, amount)


def resolve_attested(state: State, events: Events, address: Address) -> None:
    """Slash a node whose last attested outcome an appeal proved wrong, once."""
    node = state.nodes[address]
    if node.attested is None or node.attested.round not in state.finals:
        return
    state.nodes[address] = replace(node, attested=None)
    if state.finals[node.attested.round] != node.attested.outcome:
        rules = state.genesis.rules
        amount = rules.bond * rules.digest_slash // SHARE
        burn(state, events, slash(state, events, address, Fault.WRONG_DIGEST, amount))


def finish(state: State, events: Events) -> None:
    """End the task and return to its creator what no round will spend."""
    state.phase, state.deadline = Phase.FINISHED, 0
    pool, state.pool = state.pool, 0
    credit(state, events, state.genesis.creator, Reason.RETURN, pool)
    events.append(Entered(state.round.number, Phase.FINISHED, 0))


# --- Transitions ---------------------------------------------------------------------------------------------


def process_fund(state: State, call: Fund) -> None:
    """Add to the pool."""
    require(state.phase != Phase.FINISHED and not state.cancelled, "stakes: the task is over")
    require(call.amount > 0 and state.pool + call.amount <= MAX_POOL, "stakes: amount out of range")
    state.pool += call.amount


def process_cancel(state: State, events: Events, call: Cancel) -> None:
    """Return the unreserved pool; a round that is under way ends with the budget that it reserved."""
    require(call.sender == state.genesis.creator, "stakes: only the creator cancels")
    require(state.phase != Phase.FINISHED and not state.cancelled, "stakes: the task is over")
    state.cancelled = True
    if state.phase in (Phase.GATHER, Phase.DRAW):
        finish(state, events)
    else:
        pool, state.pool = state.pool, 0
        credit(state, events, state.genesis.creator, Reason.RETURN, pool)


def process_join(state: State, call: Join) -> None:
    """Enrol a node."""
    require(state.phase == Phase.GATHER, "stakes: join while task gathers")
    require(call.sender not in state.nodes, "stakes: already a node")
    require(call.domain < state.genesis.rules.domains, "stakes: no such domain")
    require(call.amount >= state.genesis.rules.min_stake, "stakes: less than the minimum")
    require(call.amount <= MAX_STAKE, "stakes: amount out of range")
    state.nodes[call.sender] = Node(call.domain, call.amount)
    place_member(state, call.sender)


def process_top_up(state: State, call: TopUp) -> None:
    """Add to a stake; a node that fell under the minimum is drawn again once it is above."""
    require(state.phase == Phase.GATHER, "stakes: join while task gathers")
    node = get_node(state, call.sender)
    require(not node.release, "stakes: the node is leaving")
    require(0 < call.amount <= MAX_STAKE - node.stake, "stakes: amount out of range")
    state.nodes[call.sender] = replace(node, stake=node.stake + call.amount)
    place_member(state, call.sender)


def process_leave(state: State, call: Leave, moment: Moment) -> None:
    """Start unbonding."""
    require(state.phase in (Phase.GATHER, Phase.FINISHED), "stakes: leave while task gathers")
    node = get_node(state, call.sender)
    require(not node.release, "stakes: the node is leaving")
    state.nodes[call.sender] = replace(node, release=moment.time + state.genesis.rules.unbonding)
    place_member(state, call.sender)


def process_withdraw(state: State, events: Events, call: Withdraw, moment: Moment) -> None:
    """Return a released stake, less what an appeal still takes from it."""
    node = get_node(state, call.sender)
    require(node.release != 0, "stakes: the node is not leaving")
    require(moment.time >= node.release, "stakes: not released yet")
    resolve_attested(state, events, call.sender)
    stake = state.nodes.pop(call.sender).stake
    events.append(Sent(call.sender, stake))


def process_claim(state: State, events: Events, call: Claim) -> None:
    """Send an account what it may claim."""
    amount = state.payable.pop(call.account, 0)
    require(amount > 0, "stakes: nothing to claim")
    events.append(Sent(call.account, amount))


def process_resolve(state: State, events: Events, call: Resolve) -> None:
    """Slash a node for an outcome proved wrong; not while the members are drawn from, or counted for the appeal."""
    require(state.phase not in (Phase.DRAW, Phase.REATTEST), "stakes: stake stands still now")
    get_node(state, call.node)
    resolve_attested(state, events, call.node)


# --- Books ---------------------------------------------------------------------------------------------------


def compute_owed(state: State) -> Amount:
    """Compute what the task's accounts add up to: it must never hold less, whatever is called in whatever order."""
    owed = sum(node.stake for node in state.nodes.values()) + state.pool + sum(state.payable.values())
    if state.phase == Phase.FINISHED:
        return owed  # the last round is still there to be read; its budget and bonds are credited
    standing = sum(witness.bond for witnesses in state.round.witnesses.values() for witness in witnesses)
    return owed + state.round.budget + state.round.held + standing
