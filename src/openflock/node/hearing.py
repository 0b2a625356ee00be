"""Hear what a round that ended says of insertions: write down what was upheld, strike out what was denied a node."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from openflock.learn.probe import MAX_WITNESS_SIZE, BadWitness, Clue, parse_clue
from openflock.node.notebook import Notebook
from openflock.protocol.ports import BlobCorrupt, BlobMissing, BlobStore, Unreachable
from openflock.protocol.settlement import get_voices
from openflock.protocol.types import Address, Round, State, Verdict, Witness
from openflock.protocol.verdict import is_witness_denied


def hear_clues(state: State, ended: Round, me: Address, store: BlobStore, notebook: Notebook) -> None:
    """Bring a node's notebook up to date with the last round; of an unjudged one, or a lost blob, there is nothing."""
    if not ended.judgements:
        return
    accused = [(slot, each) for slot, witnesses in sorted(ended.witnesses.items()) for each in witnesses]
    convicted = {slot for slot, each in enumerate(ended.judgements) if each.verdict == Verdict.SUSPECT}
    heard = list(read_clues(store, (witness for slot, witness in accused if slot in convicted)))
    own = [(slot, witness) for slot, witness in accused if witness.account == me]
    for clue in read_clues(store, (witness for slot, witness in own if _was_denied(state, ended, slot))):
        if clue not in heard:  # the same may open one update and not another
            notebook.strike(clue)
    for clue in heard:
        notebook.note(clue, tested=False)


def read_clues(store: BlobStore, witnesses: Iterable[Witness]) -> Iterator[Clue]:
    """Read what witnesses say, one after another; what cannot be had or read says nothing."""
    for witness in witnesses:
        try:
            clue = parse_clue(store.fetch(witness.digest, MAX_WITNESS_SIZE))
        except (BlobMissing, BlobCorrupt, Unreachable, BadWitness):
            continue
        yield clue


def _was_denied(state: State, ended: Round, slot: int) -> bool:
    """Answer whether two thirds found nothing in a slot; not if some voter has left with its stake since."""
    here = all(seat.node in state.nodes for seat in ended.voters)
    return here and is_witness_denied(get_voices(replace(state, round=ended), slot))
