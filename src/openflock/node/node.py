"""One node: from the task's state to the next call it wants to make, its commitments kept in its journal."""

import hmac
import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from hashlib import sha256

from openflock.learn.model import Model
from openflock.learn.probe import MAX_WITNESS_SIZE, Clue, encode_clue
from openflock.node.case import Case
from openflock.node.examiner import Examiner
from openflock.node.hearing import hear_clues
from openflock.node.proposer import Proposer
from openflock.node.reader import Reader
from openflock.node.searcher import Searcher
from openflock.node.voter import Voter, list_unreadable
from openflock.protocol.acts import find_weight
from openflock.protocol.ballot import Mark, compute_ballot, compute_sealed_word, get_mark
from openflock.protocol.calls import Call, Commit, Confirm, Expose, Join, Opening, Publish, Reveal
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.encoding import from_json, to_json
from openflock.protocol.ports import BlobCorrupt, BlobMissing, BlobStore, Journal, Unreachable, Wanted
from openflock.protocol.types import (
    Act,
    Address,
    Flag,
    Genesis,
    Phase,
    Proposal,
    Round,
    State,
    commit_phase,
    open_phase,
)
from openflock.protocol.verdict import list_accepted
from openflock.update.admission import Inadmissible
from openflock.update.codec import decode_state, encode_update

VACCINES = 6  # clues, the last to fire, that an update is trained against

OPENINGS: dict[Act, type[Opening]] = {
    Act.UPDATE: Publish,
    Act.WITNESS: Expose,
    Act.BALLOT: Reveal,
    Act.ATTESTATION: Confirm,
    Act.APPEAL: Confirm,
}


@dataclass(frozen=True)
class Identity:
    """Who a node is. `secret` follows from its key: salts are derived from it, so a crash loses none."""

    address: Address
    secret: bytes = field(repr=False)
    domain: int
    stake: int

    def compute_salt(self, task: Genesis, round_number: int, act: Act) -> bytes:
        """Compute the salt of one act; nobody without the secret can tell it from random bytes."""
        return self._derive(task, f"{round_number}/salt/{int(act)}")

    def compute_batch_seed(self, task: Genesis, round_number: int) -> int:
        """Compute the seed of a round's batches: the same after a crash, and of no use to others."""
        return int.from_bytes(self._derive(task, f"{round_number}/batches")[:6], "big")

    def _derive(self, task: Genesis, purpose: str) -> bytes:
        return hmac.digest(self.secret, f"{task.chain}/{task.task}/{purpose}".encode(), sha256)


@dataclass
class Node:
    """A participant that plays every role it is drawn for.

    The outbox keeps the bytes behind its commitments where nobody else reads, until it opens them.
    """

    identity: Identity
    model: Model
    reader: Reader
    journal: Journal
    outbox: BlobStore
    proposer: Proposer
    voter: Voter
    searcher: Searcher | None = field(default=None, kw_only=True)  # a node without one accuses nobody
    examiner: Examiner | None = field(default=None, kw_only=True)  # one without says nothing of sealed rows
    _searched: int = field(default=0, init=False)  # the last round in which it looked
    _heard: int = field(default=0, init=False)  # the last round whose clues it has

    def decide(self, state: State, *, patient: bool = False) -> Call | None:
        """Say what to call next in this state, None if it is not this node's turn.

        Who is `patient` raises Unreachable rather than attest what no store takes yet.
        """
        self._settle_feedback(state)
        self._hear_clues(state)
        if state.phase == Phase.GATHER and self.identity.address not in state.nodes:
            return Join(self.identity.address, self.identity.domain, self.identity.stake)
        for act in Act:
            if state.phase == commit_phase(act):
                return self._commit(state, act)
            if state.phase == open_phase(act):
                return self._open(state, act, patient)
        return None

    def fetch_ahead(self, state: State) -> None:
        """Fetch what this node will judge, the round's sealed rows, and what a merge is compared with.

        What was admitted once is remembered, so that a store may fail when the vote begins. Raises BlobMissing,
        BlobCorrupt or Unreachable if some of what a ballot needs lacks; what earlier rounds merged can wait.
        """
        if not self._will_judge(state):
            return
        base, ceiling, failure = self.reader.fetch_state(state.digest), state.genesis.rules.norm_ceiling, None
        for proposal in self._list_others(state.round):
            try:
                self.reader.admit(base, proposal, ceiling)
            except Inadmissible:
                continue
            except (BlobMissing, BlobCorrupt, Unreachable) as error:
                failure = error
        with suppress(BlobMissing, BlobCorrupt, Unreachable):
            self.reader.recall(base, state.merged)
        if self.examiner and state.phase >= Phase.PROBE:
            self.examiner.fetch_rows(self.reader, state.genesis.rules, state.round.number)
        if failure:
            raise failure

    def judge_ahead(self, state: State) -> None:
        """Judge what this node will have to and can read already; once all updates are open."""
        if not self._will_judge(state):
            return
        case = self._open_case(state)
        self.voter.mark_ahead(case)
        if self.examiner:
            self.examiner.score_proposals(case)

    def list_wanted(self, state: State) -> list[Wanted]:
        """List the blobs that this node's next act lacks; each may come from somebody else, and slowly.

        Those of `fetch_ahead` and the witnesses', or what is merged and what that is compared with.
        """
        current = state.round
        if any(state.phase == commit_phase(act) and self.is_due(state, act) for act in (Act.ATTESTATION, Act.APPEAL)):
            accepted = [current.proposals[slot] for slot in list_accepted(current)]
            return self.reader.list_missing(self.reader.fetch_state(state.digest), accepted, state.merged)
        if not self._will_judge(state):
            return []
        base = self.reader.fetch_state(state.digest)
        wanted = self.reader.list_missing(base, self._list_others(current), state.merged)
        if self.examiner and state.phase >= Phase.PROBE:
            wanted += self.examiner.list_missing(current.number)
        return wanted + [(each.digest, MAX_WITNESS_SIZE) for said in current.witnesses.values() for each in said]

    def _will_judge(self, state: State) -> bool:
        me = self.identity.address
        return find_weight(state.round.voters, me) > 0 and (Act.BALLOT, me) not in state.round.commitments

    def _list_others(self, current: Round) -> list[Proposal]:
        me = self.identity.address
        return [each for slot, each in current.proposals.items() if current.proposers[slot].node != me]

    def _commit(self, state: State, act: Act) -> Call | None:
        me, number = self.identity.address, state.round.number
        if (act, me) in state.round.commitments or not self._has_part(state, act):
            return None
        opening = self._recall(state, act) or self._prepare(state, act)
        if opening is None:
            return None
        task, content = state.genesis, compute_content(opening)
        commitment = compute_commitment(task.chain, task.task, number, act, me, content, opening.salt)
        return Commit(me, act, commitment, bond=task.rules.witness_bond if act == Act.WITNESS else 0)

    def _open(self, state: State, act: Act, patient: bool) -> Call | None:
        if not state.round.commitments.get((act, self.identity.address)):
            return None
        opening = self._recall(state, act)
        if isinstance(opening, Publish | Expose | Confirm):
            # All voters have the state that they confirm, and whoever lacks it computes it again.
            can_do_without = isinstance(opening, Confirm) and not patient
            with suppress(Unreachable) if can_do_without else nullcontext():
                self.reader.store.put(self.outbox.fetch(opening.digest, self.reader.largest))
        return opening

    def _settle_feedback(self, state: State) -> None:
        """Learn what became of the last round's update, so that its rest is kept or dropped."""
        ended, feedback = state.ended, self.proposer.feedback
        if ended is None or feedback is None:
            return
        mine = [slot for slot in ended.proposals if ended.proposers[slot].node == self.identity.address]
        if mine:
            accepted = mine[0] in list_accepted(ended)
            merged = accepted and ended.agreed is not None and state.digest == ended.agreed.digest
            refused = bool(ended.judgements) and not accepted
            feedback.settle(ended.proposals[mine[0]].digest, merged=merged, judged=refused)

    def _hear_clues(self, state: State) -> None:
        """Hear what the last round says of insertions, once."""
        ended, notebook = state.ended, self.voter.notebook
        if notebook and ended and self._heard != ended.number:
            self._heard = ended.number
            hear_clues(state, ended, self.identity.address, self.reader.store, notebook)

    def _list_clues(self) -> Sequence[Clue]:
        return self.voter.notebook.read() if self.voter.notebook else ()

    def _has_part(self, state: State, act: Act) -> bool:
        """Answer whether this node may act; voters search, since they have rows to search with."""
        me = self.identity.address
        seats = {
            Act.UPDATE: state.round.proposers,
            Act.WITNESS: state.round.voters if self.searcher else (),
            Act.BALLOT: state.round.voters,
            Act.ATTESTATION: state.round.voters,
        }
        return me in state.members if act == Act.APPEAL else find_weight(seats[act], me) > 0

    def work(self, state: State, act: Act) -> Opening | None:
        """Do the work of an act; it leaves only files behind, so another process may do it."""
        if act == Act.UPDATE:
            return self._propose(state)
        return self._search(state) if act == Act.WITNESS else self._judge(state, act)

    def write_down(self, state: State, act: Act, opening: Opening) -> None:
        """Write down what an act will open, before anything is sent."""
        content = json.dumps(to_json(opening)).encode()
        self.journal.remember(state.genesis.task, self.identity.address, state.round.number, act, content)

    def is_due(self, state: State, act: Act) -> bool:
        """Answer whether the work of an act lies before this node."""
        committed = (act, self.identity.address) in state.round.commitments
        return not committed and self._has_part(state, act) and self._recall(state, act) is None

    def _prepare(self, state: State, act: Act) -> Opening | None:
        opening = self.work(state, act)
        if opening is not None:
            self.write_down(state, act, opening)
        return opening

    def _recall(self, state: State, act: Act) -> Opening | None:
        content = self.journal.recall(state.genesis.task, self.identity.address, state.round.number, act)
        if content is None:
            return None
        opening: Opening = from_json(OPENINGS[act], json.loads(content))
        return opening

    def _propose(self, state: State) -> Opening:
        rules, number = state.genesis.rules, state.round.number
        base = self.reader.fetch_state(state.digest)
        seed = self.identity.compute_batch_seed(state.genesis, number)
        blob = self.proposer.make_update(self.model, base, rules.norm_ceiling, seed, self._list_clues()[-VACCINES:])
        salt = self.identity.compute_salt(state.genesis, number, Act.UPDATE)
        return Publish(self.identity.address, self.outbox.put(blob), len(blob), salt)

    def _search(self, state: State) -> Opening | None:
        """Search once in a round; its bond comes from the account, not from its stake."""
        current, me = state.round, self.identity.address
        if self.searcher is None or self._searched == current.number:
            return None
        salt = self.identity.compute_salt(state.genesis, current.number, Act.WITNESS)
        found = self.searcher.accuse(self._open_case(state), salt, self._list_clues())
        self._searched = current.number
        if found is None:
            return None
        if self.voter.notebook:
            self.voter.notebook.note(found[1], tested=True)
        return Expose(me, found[0], self.outbox.put(encode_clue(found[1])), salt)

    def _judge(self, state: State, act: Act) -> Opening | None:
        rules, current, me = state.genesis.rules, state.round, self.identity.address
        salt = self.identity.compute_salt(state.genesis, current.number, act)
        if act == Act.BALLOT:
            case = self._open_case(state)
            marks = self.voter.mark_proposals(case)
            sealed = self.examine(state, marks)
            marks = self.voter.flag_suspects(case, marks)
            return Reveal(me, compute_ballot(marks), compute_sealed_word(sealed), salt)
        try:
            merge = self.voter.merge(self.reader, rules, current, state.digest, state.merged)
        except (BlobMissing, BlobCorrupt, Inadmissible):
            return None  # what cannot be merged, or not be told from what is old, cannot be attested
        self._serve_on(state, act)
        merged = self.outbox.put_stream(merge.stream())
        candidate = decode_state(self.outbox.fetch(merged, self.reader.largest), merged)
        veto = self.voter.is_harmful(self.model, self.reader, rules, state.digest, candidate)
        return Confirm(me, merged, merge.duplicates, veto, salt)

    def examine(self, state: State, marks: Sequence[Mark]) -> Sequence[int | None]:
        """Score every slot on the sealed rows, where there are any; of its own marks it matters what was unreadable."""
        if self.examiner is None:
            return ()
        return self.examiner.score_proposals(self._open_case(state), list_unreadable(marks))

    def _open_case(self, state: State) -> Case:
        rules, me = state.genesis.rules, self.identity.address
        return Case(self.model, self.reader, rules, state.round, state.digest, me)

    def _serve_on(self, state: State, act: Act) -> None:
        """Put accepted updates that some voter could not fetch where all look; in an appeal all that a merge needs.

        Who serves only two thirds of the voters, and then keeps silent, would otherwise stall the round for a fee. And
        who serves no more what was merged before would stall all that come: only a merge moves what is looked back on.
        """
        current, base, appeals = state.round, self.reader.fetch_state(state.digest), act == Act.APPEAL
        lacked = [
            self.reader.admit(base, current.proposals[slot], state.genesis.rules.norm_ceiling)
            for slot in list_accepted(current)
            if appeals or any(get_mark(ballot, slot).flags & Flag.UNAVAILABLE for ballot in current.ballots.values())
        ]
        lacked += [each.update for each in self.reader.recall(base, state.merged)] if appeals else []
        for update in lacked:
            with suppress(Unreachable):
                self.reader.store.put(encode_update(update))
