# pragma version ==0.4.3
"""
@title Stakes: every movement of money
@license Apache-2.0
@notice Mirrors `openflock.protocol.stakes`. What leaves one account enters
        another, so the task owes what it holds. Stake rises, and members come
        and go, only while a task gathers: from the snapshot to the draw the
        tree stands still. Payouts are pulled; nobody but a node itself can
        take its stake out, and nobody but the rules can take it away.
"""


from interfaces import ITask
import errors
import phases
import rules
import sortition
import types
import vault


uses: phases
uses: rules
uses: sortition
uses: vault


CREATOR: immutable(address)


pool: uint256
cancelled: bool
nodes: HashMap[address, ITask.Node]
payable_of: HashMap[address, uint256]
finals: HashMap[uint256, bytes32]  # rounds that an appeal decided


@deploy
def __init__(creator: address):
    """
    @param creator Who may cancel, and gets back what no round spends.
    """
    CREATOR = creator


@external
@nonreentrant
def fund(amount: uint256):
    """
    @notice See {ITask-fund}.
    """
    self._require_running()
    in_range: bool = amount > 0 and amount <= types.MAX_POOL
    in_range = in_range and self.pool + amount <= types.MAX_POOL
    errors._require(in_range, "stakes: amount out of range")
    log ITask.Funded(sender=msg.sender, amount=amount)
    self.pool += amount
    vault._pull(amount)


@external
def cancel():
    """
    @notice See {ITask-cancel}.
    """
    errors._require(msg.sender == CREATOR, "stakes: only the creator cancels")
    self._require_running()
    self.cancelled = True
    log ITask.Cancelled(sender=msg.sender)
    if phases.phase <= types.DRAW:
        self._finish()
    else:
        self._return_pool()


@external
@nonreentrant
def join(domain: uint256, amount: uint256):
    """
    @notice See {ITask-join}.
    """
    self._require_gathering()
    errors._require(not self.nodes[msg.sender].enrolled, "stakes: already a node")
    errors._require(domain < rules.RULES.domains, "stakes: no such domain")
    errors._require(amount >= rules.RULES.min_stake, "stakes: less than the minimum")
    errors._require(amount <= types.MAX_STAKE, "stakes: amount out of range")
    log ITask.Joined(sender=msg.sender, domain=domain, amount=amount)
    self.nodes[msg.sender].enrolled = True
    self.nodes[msg.sender].domain = domain
    self.nodes[msg.sender].stake = amount
    self._place_member(msg.sender)
    vault._pull(amount)


@external
@nonreentrant
def top_up(amount: uint256):
    """
    @notice See {ITask-top_up}.
    """
    self._require_gathering()
    self._require_staying(msg.sender)
    stake: uint256 = self.nodes[msg.sender].stake
    in_range: bool = amount > 0 and amount <= types.MAX_STAKE - stake
    errors._require(in_range, "stakes: amount out of range")
    log ITask.ToppedUp(sender=msg.sender, amount=amount)
    self.nodes[msg.sender].stake = stake + amount
    self._place_member(msg.sender)
    vault._pull(amount)


@external
def leave():
    """
    @notice See {ITask-leave}.
    """
    still: bool = phases.phase == types.GATHER or phases.phase == types.FINISHED
    errors._require(still, "stakes: leave while task gathers")
    self._require_staying(msg.sender)
    log ITask.Left(sender=msg.sender)
    self.nodes[msg.sender].release = block.timestamp + rules.RULES.unbonding
    self._place_member(msg.sender)


@external
@nonreentrant
def withdraw():
    """
    @notice See {ITask-withdraw}.
    """
    self._require_node(msg.sender)
    release: uint256 = self.nodes[msg.sender].release
    errors._require(release != 0, "stakes: the node is not leaving")
    errors._require(block.timestamp >= release, "stakes: not released yet")
    log ITask.Withdrawn(sender=msg.sender)
    self._resolve_attested(msg.sender)
    stake: uint256 = self.nodes[msg.sender].stake
    self.nodes[msg.sender] = empty(ITask.Node)
    self._send(msg.sender, stake)


@external
@nonreentrant
def claim(account: address):
    """
    @notice See {ITask-claim}.
    """
    amount: uint256 = self.payable_of[account]
    errors._require(amount > 0, "stakes: nothing to claim")
    log ITask.Claimed(sender=msg.sender, account=account)
    self.payable_of[account] = 0
    self._send(account, amount)


@external
def resolve(node: address):
    """
    @notice See {ITask-resolve}.
    """
    still: bool = phases.phase == types.DRAW or phases.phase == types.REATTEST
    errors._require(not still, "stakes: stake stands still now")
    self._require_node(node)
    log ITask.Resolved(sender=msg.sender, node=node)
    self._resolve_attested(node)


@internal
@view
def _require_running():
    over: bool = phases.phase == types.FINISHED or self.cancelled
    errors._require(not over, "stakes: the task is over")


@internal
@view
def _require_gathering():
    errors._require(phases.phase == types.GATHER, "stakes: join while task gathers")


@internal
@view
def _require_node(account: address):
    errors._require(self.nodes[account].enrolled, "stakes: not a node")


@internal
@view
def _require_staying(account: address):
    self._require_node(account)
    errors._require(self.nodes[account].release == 0, "stakes: the node is leaving")


@internal
def _place_member(account: address):
    """
    @dev Members hold at least the minimum and are not leaving.
    """
    stake: uint256 = self.nodes[account].stake
    eligible: bool = stake >= rules.RULES.min_stake and self.nodes[account].release == 0
    sortition._place(account, stake if eligible else 0)


@internal
def _slash(account: address, fault: uint256, amount: uint256) -> uint256:
    """
    @dev Takes up to `amount` and returns what was taken; the caller says
         where it goes.
    """
    stake: uint256 = self.nodes[account].stake
    taken: uint256 = min(stake, amount)
    if taken > 0:
        self.nodes[account].stake = stake - taken
        self._place_member(account)
        log ITask.Slashed(node=account, fault=fault, amount=taken)
    return taken


@internal
def _credit(account: address, reason: uint256, amount: uint256):
    """
    @dev Lets an account claim an amount.
    """
    if amount > 0:
        self.payable_of[account] += amount
        log ITask.Credited(account=account, reason=reason, amount=amount)


@internal
def _burn(amount: uint256):
    """
    @dev A slash that paid somebody would be worth causing.
    """
    self._credit(types.BURN_ADDRESS, types.REASON_BURN, amount)


@internal
def _resolve_attested(account: address):
    """
    @dev Slashes a node whose last attested outcome an appeal proved wrong,
         once.
    """
    final: bytes32 = self.finals[self.nodes[account].attested_round]
    if final == empty(bytes32):
        return
    attested: bytes32 = self.nodes[account].attested_outcome
    self.nodes[account].attested_round = 0
    self.nodes[account].attested_outcome = empty(bytes32)
    if final != attested:
        amount: uint256 = rules.RULES.bond * rules.RULES.digest_slash // rules.SHARE
        self._burn(self._slash(account, types.FAULT_WRONG_DIGEST, amount))


@internal
def _remember_attested(account: address, outcome: bytes32):
    """
    @dev Who said two things in a round is right in neither, so forcing an
         appeal costs.
    """
    held: bytes32 = outcome
    if self.nodes[account].attested_round == phases.number:
        if self.nodes[account].attested_outcome != outcome:
            held = empty(bytes32)
    self.nodes[account].attested_round = phases.number
    self.nodes[account].attested_outcome = held


@internal
def _return_pool():
    """
    @dev Gives its creator what no round has reserved.
    """
    pool: uint256 = self.pool
    self.pool = 0
    self._credit(CREATOR, types.REASON_RETURN, pool)


@internal
def _finish():
    """
    @dev Ends the task and returns what no round will spend.
    """
    self._return_pool()
    phases._enter_until(types.FINISHED, 0)


@internal
def _send(account: address, amount: uint256):
    log ITask.Sent(account=account, amount=amount)
    vault._push(account, amount)
