"""Tasks on a chain, as anyone sees them: find one, replay it, describe it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, ContractLogicError

from openflock.app.settings import SettingsError
from openflock.app.story import RoundStory
from openflock.edge.evm_ledger import EvmLedger, get_contract
from openflock.edge.rpc import BadEndpoint, WrongChain, connect
from openflock.protocol.encoding import to_json
from openflock.protocol.job import MAX_JOB_SIZE, Job, decode_job
from openflock.protocol.ports import BlobStore, Unreachable
from openflock.protocol.replay import Divergence, Replica, Step
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Phase, State, Verdict

PAGE = 100  # tasks that a factory lists at once
WEI = 10**18


@dataclass(frozen=True)
class View:
    """A task as its log tells it, and the chain's time."""

    state: State
    stories: list[RoundStory]
    now: int
    job: Job | None = None

    def name_domain(self, domain: int) -> str:
        """Name a domain as the job does; by its number where the job is not known."""
        return self.job.domains[domain] if self.job and domain < len(self.job.domains) else str(domain)


# --- Find ----------------------------------------------------------------------------------------------------


def open_chain(rpc: str) -> Web3:
    """Connect to a chain by one or more URLs, with commas between."""
    try:
        return connect([url for url in rpc.split(",") if url])
    except (BadEndpoint, WrongChain) as error:
        raise SettingsError(f"--rpc: {error}") from error
    except Unreachable as error:
        raise SettingsError(f"--rpc: {error}; check the URL and that the node runs") from error


def check_address(address: str, what: str) -> Address:
    """Read an address as a user writes it."""
    if not Web3.is_address(address):
        raise SettingsError(f"{what} {address}: not an address: write 0x and 40 hex digits")
    return address.lower()


def check_contract(web3: Web3, address: str, what: str) -> Address:
    """Read the address of a contract that is there."""
    checked = check_address(address, what)
    if not web3.eth.get_code(Web3.to_checksum_address(checked)):
        raise SettingsError(f"{what} {checked}: no contract at this address on chain {web3.eth.chain_id}")
    return checked


def find_task(web3: Web3, address: str) -> Address:
    """Read the address of a task that is there."""
    task = check_contract(web3, address, "--task")
    try:
        get_contract(web3, "Task", task).functions.get_standing().call()
    except (BadFunctionCallOutput, ContractLogicError) as error:
        raise SettingsError(f"--task {task}: the contract at this address is no task") from error
    return task


def list_tasks(web3: Web3, factory: str) -> Iterator[dict[str, Any]]:
    """List a factory's tasks, the oldest first, each as it stands now."""
    contract = get_contract(web3, "TaskFactory", check_contract(web3, factory, "--factory"))
    try:
        count = contract.functions.count_tasks().call()
    except (BadFunctionCallOutput, ContractLogicError) as error:
        raise SettingsError(f"--factory {factory}: the contract at this address is no factory of tasks") from error
    for start in range(0, count, PAGE):
        for address in contract.functions.get_tasks(start, PAGE).call():
            yield read_standing(web3, address.lower())


def read_standing(web3: Web3, task: Address) -> dict[str, Any]:
    """Read where a task stands, believing the contract."""
    functions = get_contract(web3, "Task", task).functions
    standing = functions.get_standing().call()
    phase, deadline, number, _, _, cancelled, members, stake, pool = standing[:9]
    return {
        "task": task,
        "creator": functions.creator().call().lower(),
        "created": functions.created_at().call(),
        "phase": Phase(phase).name.lower(),
        "deadline": deadline,
        "round": number,
        "rounds": Rules(*functions.get_rules().call()).rounds,
        "cancelled": cancelled,
        "members": members,
        "stake": stake,
        "pool": pool,
    }


# --- Replay --------------------------------------------------------------------------------------------------


class Follower:
    """A task's log, replayed as it grows."""

    def __init__(self, web3: Web3, task: Address, store: BlobStore | None = None, confirmations: int = 0) -> None:
        """Find the task; the job's words come from `store`, where one is given."""
        self._web3 = web3
        self._ledger = EvmLedger(web3, task, {}, confirmations=confirmations)
        self._replica = Replica(self._ledger.get_genesis())
        self._stories = [RoundStory(1)]
        self._job = store and decode_job(store.fetch(self._replica.state.genesis.rules.job, MAX_JOB_SIZE))

    def view(self) -> View:
        """Read what the log has since, and say where the task stands."""
        try:
            for step in self._replica.follow(self._ledger.read(self._replica.position)):
                self._tell(step)
        except Divergence as error:
            raise SettingsError(f"{self._replica.state.genesis.task}: its log breaks its rules: {error}") from error
        ended = [story for story in self._stories if story.outcome is not None]
        now = int(self._web3.eth.get_block("latest")["timestamp"])
        return View(self._replica.state, ended, now, self._job or None)

    def _tell(self, step: Step) -> None:
        self._stories[-1].tell(step)
        if self._stories[-1].outcome is not None:
            self._stories.append(RoundStory(self._stories[-1].number + 1))


# --- Describe ------------------------------------------------------------------------------------------------


def describe_task(view: View) -> dict[str, Any]:
    """Give a task as JSON; amounts are in the token's smallest unit."""
    state = view.state
    genesis, job = state.genesis, view.job
    timed = state.phase not in (Phase.DRAW, Phase.FINISHED)
    words: dict[str, Any] = {}
    if job:
        words = {"title": job.title, "base": job.base, "rank": job.rank, "domains": list(job.domains)}
        words["sealed_rounds"] = len(job.sealed)
    return {
        **{name: getattr(genesis, name) for name in ("task", "chain", "token", "creator")},
        "created": genesis.time,
        **words,
        "phase": state.phase.name.lower(),
        "deadline": state.deadline,
        "seconds_left": max(0, state.deadline - view.now) if timed else None,
        "round": state.round.number,
        "rounds": genesis.rules.rounds,
        "digest": state.digest.hex(),
        "pool": state.pool,
        "cancelled": state.cancelled,
        "nodes": [describe_node(view, address) for address in sorted(state.nodes)],
        "owed": {account: amount for account, amount in sorted(state.payable.items()) if amount},
        "history": [describe_round(story) for story in view.stories],
        "rules": to_json(genesis.rules),
    }


def describe_node(view: View, address: Address) -> dict[str, Any]:
    """Say what a node has in a task, and what it earned and lost there."""
    state = view.state
    node = state.nodes[address]
    return {
        "node": address,
        "domain": view.name_domain(node.domain),
        "stake": node.stake,
        "is_member": address in state.members,
        "release": node.release or None,
        "earned": sum(story.paid[address] for story in view.stories),
        "slashed": sum(story.slashed[address] for story in view.stories),
        "owed": state.payable.get(address, 0),
    }


def describe_round(story: RoundStory) -> dict[str, Any]:
    """Say how a round ended."""
    verdicts = [judgement.verdict for judgement in story.judgements.values()]
    return {
        "round": story.number,
        "outcome": story.outcome.name.lower() if story.outcome is not None else None,
        "proposers": len(story.proposers),
        "merged": sum(verdict in (Verdict.PAID, Verdict.UNPAID) for verdict in verdicts),
        "ballots": len(story.ballots),
        "spent": story.spent,
        "slashed": sum(story.slashed.values()),
        "digest": story.digest.hex(),
    }


def describe_account(address: Address, rpc: str | None, task: str | None) -> dict[str, Any]:
    """Say what an account has on a chain and in a task; amounts are in the smallest unit."""
    if rpc is None:
        if task is not None:
            raise SettingsError("--task: give --rpc too, the chain that it is on")
        return {"address": address}
    web3, account = open_chain(rpc), Web3.to_checksum_address(address)
    found: dict[str, Any] = {"address": address, "chain": web3.eth.chain_id, "gas": web3.eth.get_balance(account)}
    if task is None:
        return found
    functions = get_contract(web3, "Task", find_task(web3, task)).functions
    token = functions.token().call()
    enrolled, _, stake, release = functions.get_node(account).call()[:4]
    return found | {
        "task": task.lower(),
        "token": token.lower(),
        "tokens": get_contract(web3, "Token", token).functions.balanceOf(account).call(),
        "is_node": enrolled,
        "stake": stake,
        "release": release or None,
        "owed": functions.payable_of(account).call(),
    }
