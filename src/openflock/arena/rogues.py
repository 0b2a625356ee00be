"""The malicious nodes under the protocol: what they vote, hide, withhold and claim, and whom they accuse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from openflock.arena.attacks.behaviours import (
    Accusation,
    collude,
    copy_ballot,
    grieve,
    hide_openings,
    keep_silent,
    list_accusations,
    split_stake,
    vote_lazily,
    vote_randomly,
)
from openflock.arena.settings import AttackTable, DefenceTable
from openflock.arena.stage import Stage, remember
from openflock.learn.model import Model
from openflock.node.case import Case
from openflock.node.examiner import Examiner, Losses, Rows
from openflock.node.node import Node
from openflock.node.reader import Reader
from openflock.node.voter import Voter
from openflock.protocol.ballot import Mark, get_mark
from openflock.protocol.calls import Call, Commit, Confirm, Expose, Leave, Opening, Publish, Reveal
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.rules import Rules
from openflock.protocol.types import NO_FLAGS, Act, Address, Amount, Digest, Flag, Phase, Round, State
from openflock.protocol.verdict import UNSCORED
from openflock.update.codec import get_digest
from openflock.update.fixed import GlobalState

OPENINGS: Final[dict[str, type[Opening]]] = {"update": Publish, "ballot": Reveal, "attestation": Confirm}
ACTS: Final = {"update": Act.UPDATE, "ballot": Act.BALLOT, "attestation": Act.ATTESTATION}


# --- Names ---------------------------------------------------------------------------------------------------


def make_address(name: str) -> Address:
    """Make an address that nobody has a key for."""
    return "0x" + sha256(f"arena {name}".encode()).hexdigest()[:40]


def list_names(stage: Stage, place: int) -> list[Address]:
    """List the addresses under which a party plays: one, unless it splits its stake."""
    count = stage.cell.attack.names if stage.world.parties[place].malicious else 1
    return [make_address(f"node {place}"), *(make_address(f"node {place}/{name}") for name in range(1, count))]


def list_ring(stage: Stage) -> set[Address]:
    """List the malicious nodes."""
    parties = enumerate(stage.world.parties)
    return {name for place, party in parties if party.malicious for name in list_names(stage, place)}


def list_stakes(stage: Stage, place: int, stake: Amount, min_stake: Amount) -> list[Amount]:
    """List what a party stakes under each of its names; ValueError if that is too little for so many."""
    return split_stake(stake, len(list_names(stage, place)), min_stake)


# --- Voters --------------------------------------------------------------------------------------------------


@dataclass
class SharedExaminer(Examiner):
    """An examiner that measures nothing anew which another of its process has: all see the same rows. Passes count."""

    stage: Stage = field(kw_only=True)

    def _measure(self, model: Model, rows: Rows, state: GlobalState | None) -> Losses:
        passed = self.stage.meter.rows
        key = b"examined " + repr((rows, self.settings)).encode() + (get_digest(state) if state else b"")
        before = passed["evaluation"]

        def work() -> tuple[Losses, int]:
            measured = Examiner._measure(self, model, rows, state)
            return measured, passed["evaluation"] - before

        losses, count = remember(self.stage.world.table.base.encode() + key, work)
        passed["evaluation"] = before + count
        return losses


@dataclass
class Judge(Voter):
    """A voter that leaves out the layers which are switched off."""

    layers: DefenceTable = field(kw_only=True)

    def is_harmful(self, model: Model, reader: Reader, rules: Rules, base: Digest, candidate: GlobalState) -> bool:
        """Judge the aggregate, if that layer is on."""
        return self.layers.veto and super().is_harmful(model, reader, rules, base, candidate)

    def _score(self, model: Model, before: GlobalState, base: Digest, after: GlobalState) -> int:
        return super()._score(model, before, base, after) if self.layers.verdict else 0


@dataclass
class Liar(Judge):
    """A malicious voter: it says what helps its ring, without a look."""

    stage: Stage = field(kw_only=True)
    ended: Round | None = None  # the last round, whose ballots are public

    def mark_proposals(self, case: Case) -> list[Mark]:
        """Mark by the ring's plan."""
        attack = self.stage.cell.attack
        if attack.votes == "honest":
            return super().mark_proposals(case)
        current, me, seats = case.current, case.me, [seat.node for seat in case.current.proposers]
        silent = Mark(flags=Flag.ABSTAIN)
        blank = [silent if node == me or slot not in current.proposals else Mark() for slot, node in enumerate(seats)]
        if attack.votes == "random":
            return vote_randomly(blank, int(me, 16) + self.stage.cell.seed * 1000 + current.number)
        if attack.votes == "copy" and self.ended is not None:
            ballot = copy_ballot(current, self.ended, make_address("node 0"))
            return [mark if mark == silent else get_mark(ballot, slot) for slot, mark in enumerate(blank)]
        if attack.votes in ("lazy", "copy"):
            return vote_lazily(blank)
        ring = [slot for slot, node in enumerate(seats) if node in list_ring(self.stage)]
        marks = collude(blank, ring) if attack.votes == "collude" else blank
        return grieve(marks, ring, join_flags(attack))

    def flag_suspects(self, case: Case, marks: Sequence[Mark]) -> list[Mark]:
        """Re-test witnesses only to judge honestly; what the plan flags is flagged."""
        if self.stage.cell.attack.votes == "honest":
            return super().flag_suspects(case, marks)
        return list(marks)

    def is_harmful(self, model: Model, reader: Reader, rules: Rules, base: Digest, candidate: GlobalState) -> bool:
        """Veto if that is the plan; else never."""
        if self.stage.cell.attack.votes == "honest" and not self.stage.cell.attack.veto:
            return super().is_harmful(model, reader, rules, base, candidate)
        return self.stage.cell.attack.veto


def join_flags(attack: AttackTable) -> Flag:
    """Join the false flags that an attack names."""
    flags = NO_FLAGS
    for name in attack.flags:
        flags |= Flag[name.upper()]
    return flags


# --- Nodes ---------------------------------------------------------------------------------------------------


@dataclass
class Rogue(Node):
    """A malicious node: it may keep silent, hide what it committed to, accuse by other accounts, and leave."""

    stage: Stage
    accounts: Sequence[Address] = ()  # of outsiders that it speaks for

    def decide(self, state: State, *, patient: bool = False) -> Call | None:
        """Decide as an honest node would, and depart from it where the attack says so."""
        me, attack = self.identity.address, self.stage.cell.attack
        if state.phase == Phase.GATHER and self.stage.ring.has_left(state.round.number):
            return Leave(me) if me in state.nodes and not state.nodes[me].release else None
        if isinstance(self.voter, Liar):
            self.voter.ended = state.ended
        absent, silent = [ACTS[act] for act in attack.absent], tuple(OPENINGS[act] for act in attack.silent)
        call = hide_openings(keep_silent(super().decide(state, patient=patient), state.phase, absent), silent)
        if isinstance(call, Publish) and not call.size:
            call = None  # an empty bomb; no ledger takes it
        return call or next(self._accuse(state), None)

    def examine(self, state: State, marks: Sequence[Mark]) -> Sequence[int | None]:
        """Say of sealed rows what it says of its own, unless it judges honestly."""
        if self.stage.cell.attack.votes == "honest":
            return super().examine(state, marks)
        return [None if mark.flags & UNSCORED or self.examiner is None else mark.score for mark in marks]

    def _accuse(self, state: State) -> Iterator[Call]:
        """Give what the outsiders have still to commit to, or to open."""
        if state.phase not in (Phase.PROBE, Phase.EXPOSE):
            return
        task, number, bond = state.genesis, state.round.number, state.genesis.rules.witness_bond
        for accusation in self._list_accusations(state.round):
            key = (Act.WITNESS, accusation.account)
            salt = sha256(f"{accusation.account}/{number}".encode()).digest()
            digest = self.reader.store.put(accusation.blob)
            opening = Expose(accusation.account, accusation.slot, digest, salt)
            if state.phase == Phase.PROBE and key not in state.round.commitments:
                content = compute_content(opening)
                commitment = compute_commitment(task.chain, task.task, number, *key, content, salt)
                yield Commit(accusation.account, Act.WITNESS, commitment, bond * self.stage.cell.attack.bid)
            if state.phase == Phase.EXPOSE and state.round.commitments.get(key):
                yield opening

    def _list_accusations(self, current: Round) -> list[Accusation]:
        ring = list_ring(self.stage)
        honest = [slot for slot in sorted(current.proposals) if current.proposers[slot].node not in ring]
        if not honest:
            return []
        return list_accusations(self.accounts, honest, self.voter.rows, self.stage.cell.seed * 1000 + current.number)
