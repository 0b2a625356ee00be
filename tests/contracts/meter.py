"""Meter: a Pair that weighs its calls.

Every call counts as a transaction of its own: storage starts cold, and calldata, refunds and the fixed 21,000 count.
The token is the one that ships, minted and approved beforehand, so that what a call pulls costs what it would.
"""

from collections import defaultdict

from openflock.protocol.calls import Advance, Call, Commit, Confirm
from openflock.protocol.types import Act, Address

from ..protocol.helpers import make_genesis
from .chain import DEPLOYER, Log, load
from .pair import Pair, get_function

INTRINSIC = 21_000
PLENTY = 10**30
UNBONDING = 100_000
PHASES = ("gather", "propose", "publish", "probe", "expose", "vote", "reveal", "attest", "confirm")

Spent = dict[str, list[int]]  # by call: what each such call burned


class Meter(Pair):
    """A Pair that weighs its calls."""

    def __init__(self, **overrides: int | bytes) -> None:
        self.spent: Spent = defaultdict(list)
        self._equipped: set[Address] = set()
        times = dict.fromkeys(PHASES, 1000)
        super().__init__(make_genesis(**(times | {"unbonding": UNBONDING} | overrides)), token=load("Token"))

    def take(self) -> Spent:
        """Give what was weighed since the last time."""
        spent, self.spent = dict(self.spent), defaultdict(list)
        return spent

    def _call_contract(self, call: Call) -> tuple[tuple[Log, ...], str | None]:
        self._equip(call.sender)
        state = self.chain.env.evm.vm.state
        state.lock_changes()
        state._account_db._reset_access_counters()
        name = self._name(call)
        logs, refusal = super()._call_contract(call)
        if refusal is None:
            self.spent[name].append(self._weigh(call))
        return logs, refusal

    def _equip(self, account: Address) -> None:
        """Give an account its first tokens, and let the task take them."""
        if account not in self._equipped:
            self._equipped.add(account)
            self.token.call("mint", account, PLENTY, sender=DEPLOYER)
            self.token.call("approve", self.task.address, 2**256 - 1, sender=account)

    def _weigh(self, call: Call) -> int:
        _, *values = vars(call).values()
        data = self.task.encode(get_function(call), *values)
        used = INTRINSIC + sum(16 if byte else 4 for byte in data) + self.task.gas
        return used - min(self.task.refund, used // 5)

    def _name(self, call: Call) -> str:
        if isinstance(call, Commit):
            return f"commit {call.act.name.lower()}"
        if isinstance(call, Confirm):
            return f"confirm {Act((self.state.phase - 3) // 2).name.lower()}"
        if isinstance(call, Advance):
            return f"advance from {self.state.phase.name.lower()}"
        return get_function(call)
