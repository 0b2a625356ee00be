# pragma version ==0.4.3
# pragma optimize codesize
"""
@title Task: one fine-tuning job among parties who do not trust each other
@license Apache-2.0
@notice Keeps the rules, the stakes and the record; participants train, judge
        and merge elsewhere. It equals `openflock.protocol.round`, call by
        call, event by event and reason by reason.
@dev One module an idea, each beside its twin in `openflock.protocol`:

        types        words and bounds
        rules        what must be agreed, and what cannot work
        phases       where the task stands, and until when
        vault        tokens in and out
        sortition    sum tree, seats drawn by stake
        stakes       money: join, leave, slash, credit
        commitments  commit and open
        record       all that one round adds
        ballots      a voter's two 256-bit words
        verdict      ballots into a verdict for each proposal
        payout       verdicts into amounts
        settlement   what a round's end does
        acts         the calls of a round
        rounds       the call that moves it on
@custom:kill Its creator calls `cancel`: the running round ends by its rules,
             then the task is over and every stake and payout can be taken.
             Nobody can end it otherwise, and nobody can reach a stake.
"""


from interfaces import ITask
import acts
import commitments
import payout
import phases
import record
import rules
import rounds
import settlement
import sortition
import stakes
import vault
import verdict


implements: ITask

initializes: rules
initializes: vault
initializes: phases[rules := rules]
initializes: sortition[phases := phases]
initializes: commitments[phases := phases]
initializes: record[phases := phases, sortition := sortition]
initializes: verdict[rules := rules]
initializes: payout[rules := rules]
initializes: stakes[phases := phases, rules := rules, sortition := sortition, vault := vault]
initializes: settlement[
    commitments := commitments,
    payout := payout,
    phases := phases,
    record := record,
    rules := rules,
    sortition := sortition,
    stakes := stakes,
    verdict := verdict,
]
initializes: acts[
    commitments := commitments,
    phases := phases,
    record := record,
    rules := rules,
    sortition := sortition,
    stakes := stakes,
    vault := vault,
]
initializes: rounds[
    commitments := commitments,
    payout := payout,
    phases := phases,
    record := record,
    rules := rules,
    settlement := settlement,
    sortition := sortition,
    stakes := stakes,
]

exports: (
    stakes.fund,
    stakes.cancel,
    stakes.join,
    stakes.top_up,
    stakes.leave,
    stakes.withdraw,
    stakes.claim,
    stakes.resolve,
    acts.commit,
    acts.publish,
    acts.expose,
    acts.reveal,
    acts.confirm,
    rounds.advance,
)


CREATED_AT: immutable(uint256)


@deploy
def __init__(token: address, creator: address, agreed: ITask.Rules):
    """
    @notice Creates a task: it gathers nodes for its first round.
    @param token The ERC-20 token of all stakes and payouts.
    @param creator Who may cancel, and gets back what no round spends.
    @param agreed All that must be agreed.
    """
    rules.__init__(agreed)
    vault.__init__(token)
    stakes.__init__(creator)
    phases.__init__()
    record.__init__(agreed.genesis)
    CREATED_AT = block.timestamp


@external
@view
def get_rules() -> ITask.Rules:
    """
    @notice See {ITask-get_rules}.
    """
    return rules.RULES


@external
@view
def get_standing() -> ITask.Standing:
    """
    @notice See {ITask-get_standing}.
    """
    return ITask.Standing(
        phase=phases.phase,
        deadline=phases.deadline,
        round=phases.number,
        digest=record.digest,
        salts=commitments.salts,
        cancelled=stakes.cancelled,
        members=len(sortition.members),
        total_stake=sortition.tree[1],
        pool=stakes.pool,
        budget=record.round.budget,
        held=record.round.held,
    )


@external
@view
def get_node(account: address) -> ITask.Node:
    """
    @notice See {ITask-get_node}.
    """
    return stakes.nodes[account]


@external
@view
def payable_of(account: address) -> uint256:
    """
    @notice See {ITask-payable_of}.
    """
    return stakes.payable_of[account]


@external
@view
def token() -> address:
    """
    @notice See {ITask-token}.
    """
    return vault.TOKEN.address


@external
@view
def creator() -> address:
    """
    @notice See {ITask-creator}.
    """
    return stakes.CREATOR


@external
@view
def created_at() -> uint256:
    """
    @notice See {ITask-created_at}.
    """
    return CREATED_AT
