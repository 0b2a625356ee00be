"""A task driven by any calls in any order, on any ledger that can move its clock.

One machine serves the specification and the contract: a subclass says on which ledger it runs. What a ledger needs
beside the port: `state`, `pass_time(seconds)`, `mine(blocks)`, and the time and block of the next call.
"""

from dataclasses import dataclass, replace

from hypothesis import Phase as HypothesisPhase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openflock.edge.spec_ledger import SpecLedger
from openflock.protocol.ballot import Mark
from openflock.protocol.calls import (
    Advance,
    Call,
    Cancel,
    Claim,
    Commit,
    Confirm,
    Expose,
    Fund,
    Join,
    Leave,
    Publish,
    Resolve,
    Reveal,
    TopUp,
    Withdraw,
)
from openflock.protocol.replay import Replica
from openflock.protocol.types import (
    BURN_ADDRESS,
    MAX_STAKE,
    Act,
    Address,
    Flag,
    Phase,
    Revert,
    commit_phase,
    open_phase,
)

from .helpers import (
    ACCUSER,
    CREATOR,
    GOOD,
    LATECOMER,
    NODES,
    OUTSIDER,
    STAKE,
    Play,
    get_actors,
    make_commit,
    make_digest,
    make_genesis,
    make_opening,
    make_salt,
)
from .invariants import check_allowed, check_events, check_refused, check_state, count_advances_to_end

ACTORS = (*NODES, LATECOMER, ACCUSER, OUTSIDER, CREATOR)

# --- What is drawn -------------------------------------------------------------------------------------------

actors = st.sampled_from(ACTORS)
acts = st.sampled_from(Act)
amounts = st.sampled_from([STAKE, 1, 0, STAKE - 1, STAKE + 7, 3 * STAKE, MAX_STAKE, MAX_STAKE + 1])
stakes = st.lists(st.sampled_from([STAKE, STAKE + 7, 3 * STAKE, 2 * STAKE - 1]), min_size=4, max_size=5)
domains = st.just([0] * 5) | st.lists(st.sampled_from([0, 0, 1, 2]), min_size=5, max_size=5)
bonds = st.sampled_from([100, 0, 99, 101, 500])
few = st.just(()) | st.sets(actors, max_size=2) | st.sets(actors)
few_frozen = few.map(frozenset)
turns = st.sampled_from([0, 0, 1, 2])
marks = st.just(GOOD) | st.builds(
    Mark, st.sampled_from([0, 100, 50, -20, -21, -2048, 2047]), st.sampled_from([Flag(0), *Flag, Flag(15)])
)
sealed = st.just((None,)) | st.lists(
    st.sampled_from([None, 0, 100, 50, 49, 201, -20, -21, -2048, 2047]), min_size=1, max_size=5
).map(tuple)
noises = st.sampled_from([0, 0, 2**256 - 2**80, int("f000" * 16, 16)]) | st.integers(0, 2**256 - 1)
moments = st.sampled_from([-1, 0, 1])

# Seats for all, seats for a few; rounds that end the task; fees and slashes from none to all that there is.
rules = st.fixed_dictionaries(
    {},
    optional={
        "proposer_seats": st.sampled_from([1, 3, 5, 16]),
        "voter_seats": st.sampled_from([3, 5, 32]),
        "rounds": st.sampled_from([4, 2, 1]),
        "domains": st.just(1),
        "reject_unproven": st.just(1),
        "witnesses": st.just(1),
        "proposer_share": st.sampled_from([0, 3333, 10_000]),
        "agreement_share": st.sampled_from([0, 5000]),
        "backdoor_slash": st.just(10_000),
        "digest_slash": st.just(10_000),
        "bounty_share": st.sampled_from([0, 3333]),
        "fee_cap": st.sampled_from([25, 777]),
        "bond": st.just(777),
    },
)


# Together these faults cost more than a node has, or than a round may take in fees.
harsh = st.builds(
    lambda seats: {"no_show_fee": 400, "hidden_ballot_fee": 600, "fee_cap": 700, "backdoor_slash": 10_000,
                   "inadmissible_slash": 10_000, "digest_slash": 10_000, "proposer_seats": seats},
    st.sampled_from([8, 3]),
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """Ballots: one mark for each proposer, turned from voter to voter, and another from those who dissent."""

    of: tuple[Mark, ...]
    turn: int
    dissent: Mark
    dissenters: frozenset[Address]

    def __call__(self, voter: Address, proposer: Address) -> Mark:
        turned = ACTORS.index(proposer) + self.turn * ACTORS.index(voter)
        return self.dissent if voter in self.dissenters else self.of[turned % len(self.of)]


@dataclass(frozen=True)
class Sealed:
    """Scores on sealed rows: one for each proposer, which all voters see, but for those who dissent."""

    of: tuple[int | None, ...] = (None,)
    dissent: int | None = None
    dissenters: frozenset[Address] = frozenset()

    def __call__(self, voter: Address, proposer: Address) -> int | None:
        return self.dissent if voter in self.dissenters else self.of[ACTORS.index(proposer) % len(self.of)]


@dataclass(frozen=True)
class Told:
    """Attested digests: the right one, and another from those who are wrong in an act."""

    wrong: frozenset[tuple[Act, Address]]

    def __call__(self, node: Address, act: Act) -> bytes:
        return make_digest("wrong" if (act, node) in self.wrong else "next state")


@st.composite
def wild_plays(draw):
    lapses = st.dictionaries(acts, few, max_size=2)
    wrong = draw(st.dictionaries(st.sampled_from([Act.ATTESTATION, Act.APPEAL]), few, max_size=2))
    return Play(
        absent=draw(lapses),
        hiding=draw(lapses),
        mark=Said(tuple(draw(st.lists(marks, min_size=1, max_size=5))), draw(turns), draw(marks), draw(few_frozen)),
        seal=Sealed(draw(sealed), draw(st.sampled_from([None, 100, -2048])), draw(few_frozen)),
        noise=draw(noises),
        digest=Told(frozenset((act, node) for act, nodes in wrong.items() for node in nodes)),
        vetoers=draw(few),
        witnesses=draw(st.dictionaries(actors, st.tuples(st.sampled_from(NODES), bonds), max_size=3)),
        originals=draw(st.dictionaries(st.sampled_from(NODES), st.sampled_from(NODES), max_size=2)),
        stale=draw(few),
    )


@st.composite
def pointed_plays(draw):
    """Rounds that go far: most agree, so that verdicts, bounties, appeals and vetoes come about."""
    odd = draw(st.sampled_from([GOOD, Mark(-2048), *(Mark(0, flag) for flag in Flag)]))
    accused = draw(st.sampled_from(NODES[:3]))
    split = draw(st.sampled_from([(), NODES[:2], NODES[:3]]))
    veto = draw(st.sampled_from([(), (), NODES[2:]]))
    dissenters = draw(st.sampled_from([(), (), NODES[3:4]]))
    lapsing = st.sampled_from([(), [accused], NODES[3:4]])
    goods = draw(st.permutations([GOOD, GOOD, *map(Mark, (101, 150, 150, 199, 220, 60, -3))]))
    said = tuple(odd if node == accused else good for node, good in zip(ACTORS, goods, strict=True))
    return Play(
        mark=Said(said, draw(st.sampled_from([0, 0, 1])), draw(marks), frozenset(dissenters)),
        seal=Sealed(draw(sealed), draw(st.sampled_from([None, 100, -2048])), frozenset(dissenters)),
        digest=Told(frozenset((draw(st.sampled_from([Act.ATTESTATION, Act.APPEAL])), node) for node in split)),
        absent=dict.fromkeys(draw(st.sets(acts, max_size=2)), draw(lapsing)),
        hiding=dict.fromkeys(draw(st.sets(acts, max_size=2)), draw(lapsing)),
        vetoers=veto,
        witnesses=draw(st.dictionaries(actors, st.tuples(st.just(accused), bonds), max_size=3)),
    )


plays = st.deferred(lambda: pointed_plays() | wild_plays())


class SpecBackend(SpecLedger):
    """The specification, with a clock that the machine moves."""

    def pass_time(self, seconds: int) -> None:
        """Let the next call happen so much later than it would."""
        self.wait_until(self.get_time() + seconds)

    def mine(self, blocks: int) -> None:
        for _ in range(blocks):
            self.wait_until(0)

    def get_block(self) -> int:
        """Read the block of the next call."""
        return self._block + 1


# --- The machine ---------------------------------------------------------------------------------------------


class TaskMachine(RuleBasedStateMachine):
    """Calls by anyone, valid and invalid, and whole phases played; a refused call must change nothing."""

    make_backend = SpecBackend

    @initialize(overrides=harsh | rules, stakes=stakes, domains=domains, pool=st.sampled_from([100_003, 7]))
    def create_task(self, overrides, stakes, domains, pool):
        overrides = {"min_voters": 2, **overrides}
        self.genesis = make_genesis(**overrides)
        self.ledger = type(self).make_backend(self.genesis)
        self.replica = Replica(self.genesis)
        self.openings = {}
        self.balance = self.read = 0
        self.attempt(Fund(CREATOR, pool))
        for node, amount, domain in zip(NODES, stakes, domains, strict=False):
            self.attempt(Join(node, domain % self.genesis.rules.domains, amount))

    def attempt(self, call: Call) -> bool:
        """Make a call, allowed or not, and check what followed from it."""
        before, time = self.ledger.state, self.ledger.get_time()
        try:
            self.ledger.submit(call)
        except Revert as refusal:
            assert self.ledger.state == before
            check_refused(before, time, str(refusal))
            return False
        check_allowed(before, time, call)
        log = self.ledger.read(self.read)
        self.read += len(log)
        self.balance += check_events(before, self.ledger.state, [entry.item for entry in log])
        self.replica.apply(log)
        return True

    @property
    def state(self):
        return self.ledger.state

    # --- Single calls ---

    @rule(sender=actors, amount=amounts)
    def fund(self, sender, amount):
        self.attempt(Fund(sender, amount))

    @rule(sender=actors, domain=st.integers(0, 3), amount=amounts)
    def join(self, sender, domain, amount):
        self.attempt(Join(sender, domain, amount))

    @rule(sender=actors, amount=amounts)
    def top_up(self, sender, amount):
        self.attempt(TopUp(sender, amount))

    @rule(sender=actors)
    def leave(self, sender):
        self.attempt(Leave(sender))

    @rule(sender=actors, late=moments)
    def withdraw(self, sender, late):
        node = self.state.nodes.get(sender)
        if node and node.release:
            self.pass_until(node.release + late)
        self.attempt(Withdraw(sender))

    @rule(sender=actors, account=st.sampled_from([*ACTORS, BURN_ADDRESS]))
    def claim(self, sender, account):
        self.attempt(Claim(sender, account))

    @rule(sender=actors, node=actors)
    def resolve(self, sender, node):
        self.attempt(Resolve(sender, node))

    @rule(sender=st.sampled_from([OUTSIDER, CREATOR]), chance=st.integers(0, 9))
    def cancel(self, sender, chance):
        if chance == 7:
            self.attempt(Cancel(sender))

    @rule(sender=actors)
    def advance(self, sender):
        self.attempt(Advance(sender))

    @rule(sender=actors, act=acts, bond=bonds, commitment=st.sampled_from([bytes(32), make_digest("anything")]))
    def commit_anything(self, sender, act, bond, commitment):
        self.attempt(Commit(sender, act, commitment, bond))

    @rule(sender=actors, play=plays)
    def commit(self, sender, play):
        self.commit_as(sender, play)

    @rule(sender=actors, forged=st.sampled_from(["", "salt", "sender", "content"]), other=actors)
    def open(self, sender, forged, other):
        opening = self.openings.get((self.state.round.number, self.get_act(), sender))
        if opening:
            match forged:
                case "salt":
                    opening = replace(opening, salt=make_digest("forged"))
                case "sender":
                    opening = replace(opening, sender=other)
                case "content" if not isinstance(opening, Reveal):
                    opening = replace(opening, digest=make_digest("forged"))
            self.attempt(opening)

    @rule(
        sender=actors,
        digest=st.sampled_from([bytes(32), make_digest("anything")]),
        number=st.sampled_from([0, 1, 7, 1 << 20, (1 << 20) + 1, 2**256 - 1]),
        kind=st.sampled_from([Publish, Expose, Reveal, Confirm]),
    )
    def open_anything(self, sender, digest, number, kind):
        salt = make_digest("any salt")
        openings = {
            Publish: Publish(sender, digest, number, salt),
            Expose: Expose(sender, number, digest, salt),
            Reveal: Reveal(sender, number, number, salt),
            Confirm: Confirm(sender, digest, number, bool(number), salt),
        }
        self.attempt(openings[kind])

    # --- Whole phases ---

    @rule(play=plays)
    def play_phase(self, play):
        """All who may act in this phase do, as they please; then the task moves on as soon as it may."""
        self.act_all(play)
        self.move_on()

    @rule(play=plays, phase=st.sampled_from([Phase.GATHER, *list(Phase)[2:12]]))
    def play_until(self, play, phase):
        """Play on to a phase, or to the end of the round."""
        self.play_on(play, phase)

    @rule(accused=st.sampled_from(NODES[:3]))
    def ruin(self, accused):
        """A proposer stays silent as a voter and is refused by all: under harsh rules that costs more than it has."""
        refused = tuple(Mark(0, Flag.INADMISSIBLE) if node == accused else GOOD for node in ACTORS)
        mark = Said(refused, 0, GOOD, frozenset())
        play = Play(mark=mark, absent={Act.ATTESTATION: [accused]})
        self.play_on(play, Phase.GATHER)

    @rule(play=plays)
    def all_act(self, play):
        self.act_all(play)

    # --- Time ---

    @precondition(lambda self: self.state.phase not in (Phase.DRAW, Phase.FINISHED))
    @rule(late=moments, sender=actors, play=plays, call=st.sampled_from(["advance", "act"]))
    def come_at_the_deadline(self, late, sender, play, call):
        self.pass_until(self.state.deadline + late)
        if call == "advance":
            self.attempt(Advance(sender))
        else:
            self.commit_as(sender, play)
            self.open_as(sender)

    @precondition(lambda self: self.get_act() is not None)
    @rule(play=plays, early=st.integers(0, 4))
    def all_come_around_the_deadline(self, play, early):
        self.pass_until(self.state.deadline - early)
        self.act_all(play)

    @precondition(lambda self: self.state.phase == Phase.DRAW)
    @rule(late=st.sampled_from([-1, 0, 1, 2, 255, 256, 257, 600, 800]))
    def come_at_the_seed(self, late):
        self.ledger.mine(max(0, self.state.deadline + late - self.ledger.get_block()))
        self.attempt(Advance(OUTSIDER))

    @rule(seconds=st.integers(1, 50))
    def wait(self, seconds):
        self.ledger.pass_time(seconds)

    # --- Invariants ---

    @invariant()
    def books_balance_and_the_state_is_sound(self):
        check_state(self.state, self.balance)

    @invariant()
    def the_log_replays_to_the_same_state(self):
        assert self.replica.state == self.state

    @rule()
    def an_outsider_can_end_the_round(self):
        assert count_advances_to_end(self.state, self.ledger.get_time(), self.ledger.get_block()) <= 12 + 3

    # --- Helpers ---

    def get_act(self) -> Act | None:
        return next((act for act in Act if self.state.phase in (commit_phase(act), open_phase(act))), None)

    def pass_until(self, time: int) -> None:
        """Let the next call happen at a time, if it is still to come."""
        if time > self.ledger.get_time():
            self.ledger.pass_time(time - self.ledger.get_time())

    def play_on(self, play: Play, phase: Phase) -> None:
        """Play this round until a phase, or to its end."""
        number, left = self.state.round.number, True
        while left and self.state.round.number == number:
            self.act_all(play)
            self.move_on()
            left = self.state.phase not in (phase, Phase.FINISHED)

    def commit_as(self, sender: Address, play: Play) -> None:
        """Commit to what a play says, if there is an act to commit to now."""
        act, state = self.get_act(), self.state
        if act is None or state.phase != commit_phase(act):
            return
        accused, bond = play.witnesses.get(sender, (NODES[0], 100))
        if act == Act.WITNESS:
            slot = next((slot for slot, seat in enumerate(state.round.proposers) if seat.node == accused), 0)
            opening = Expose(sender, slot, make_digest("witness"), make_salt(sender, act, state.round.number))
        else:
            opening = make_opening(state, play, act, sender)
        if self.attempt(make_commit(state, act, opening, bond if act == Act.WITNESS else 0)):
            self.openings[state.round.number, act, sender] = opening

    def open_as(self, sender: Address) -> None:
        """Open what a node committed to, if it is time."""
        act = self.get_act()
        opening = self.openings.get((self.state.round.number, act, sender))
        if opening and self.state.phase == open_phase(act):
            self.attempt(opening)

    def act_all(self, play: Play) -> None:
        act = self.get_act()
        if act is None:
            return
        committing = self.state.phase == commit_phase(act)
        idle = play.absent.get(act, ()) if committing else play.hiding.get(act, ())
        for node in get_actors(self.state, play, act) if committing else ACTORS:
            if node not in idle:
                (self.commit_as(node, play) if committing else self.open_as(node))

    def move_on(self) -> None:
        """Advance at the first moment at which the task allows it."""
        if self.state.phase == Phase.DRAW:
            self.ledger.mine(max(0, self.state.deadline + 1 - self.ledger.get_block()))
        elif not self.attempt(Advance(OUTSIDER)):
            self.pass_until(self.state.deadline + 1)
        else:
            return
        self.attempt(Advance(OUTSIDER))


def search(machine: type[TaskMachine], examples: int, steps: int, *, shrinks: bool = True) -> type:
    """Make the test of a machine; HYPOTHESIS_PROFILE=long searches twenty times as far, and always shrinks."""
    test, is_long = machine.TestCase, settings.get_current_profile_name() == "long"
    stages = [stage for stage in HypothesisPhase if shrinks or is_long or stage.name not in ("shrink", "explain")]
    test.settings = settings(
        max_examples=examples * (20 if is_long else 1),
        stateful_step_count=steps,
        phases=stages,
        report_multiple_bugs=False,
    )
    return test
