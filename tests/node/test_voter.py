import math
import pickle
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from safetensors.numpy import save

from openflock.edge.blobs import DirectoryStore
from openflock.learn.probe import WHOLE, Clue, encode_clue
from openflock.learn.sealed import encode_sealed
from openflock.node.case import Case
from openflock.node.examiner import Examiner
from openflock.node.notebook import Notebook
from openflock.node.pace import TooLate
from openflock.node.proposer import Proposer
from openflock.node.reader import Reader
from openflock.node.shares import find_share
from openflock.node.voter import Voter, list_unreadable
from openflock.protocol.ballot import Mark
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import NO_FLAGS, Flag, Judgement, Proposal, Round, Seat, Verdict, Witness
from openflock.update.admission import NORM_BITS, compute_squared_size
from openflock.update.aggregate import compute_share
from openflock.update.codec import (
    decode_state,
    decode_update,
    digest,
    encode_update,
    get_digest,
    make_update,
    max_update_size,
    stream_state,
)
from openflock.update.fixed import initial_state

from .helpers import JUDGING, SEED, SHORT, get_model, get_rows, make_camp

ME, HELPFUL, OTHER = "0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40


@pytest.fixture(scope="module")
def camp(tmp_path_factory):
    return make_camp(tmp_path_factory.mktemp("camp"))


@pytest.fixture(scope="module")
def state():
    return initial_state(get_model().layout, SEED)


@pytest.fixture(scope="module")
def helpful(state):  # a skill that the base lacks, and enough rows and steps to learn some of it
    proposer = Proposer(get_rows(1, 0, 64), replace(SHORT, steps=12, batch_size=8))
    return proposer.make_update(get_model(), state, 1 << 20, 1)


@pytest.fixture
def voter():
    return Voter(get_rows(1, 3, 32), JUDGING)


def mark(camp, voter, blob, size=None, stored=True):
    """What the voter says of one proposal beside its own."""
    found = camp.reader.store.put(blob) if stored else digest(blob)
    current = Round(1, proposers=(Seat(ME, 1), Seat(HELPFUL, 1)))
    current.proposals.update({0: Proposal(bytes(32), 1), 1: Proposal(found, size or len(blob))})
    marks = voter.mark_proposals(Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME))
    assert marks[0] == Mark(flags=Flag.ABSTAIN)
    return marks[1]


def test_a_helpful_update_scores_above_zero(camp, voter, helpful):
    found = mark(camp, voter, helpful)
    assert found.flags == NO_FLAGS
    assert found.score > 0


def test_an_update_that_changes_nothing_scores_zero(camp, voter, state):
    still = {"B": np.zeros(state.layout.compute_size("B"), np.int64)}
    assert mark(camp, voter, encode_update(make_update(state, still))) == Mark(0)


def make_noise(state):
    noise = np.random.default_rng(1).integers(-(1 << 19), 1 << 19, state.layout.compute_size("B"))
    return encode_update(make_update(state, {"B": noise}))


def test_a_harmful_update_scores_below_zero(camp, voter, state):
    assert mark(camp, voter, make_noise(state)).score < 0


@pytest.mark.parametrize(("grouping", "share"), [(0, Fraction(1, 4)), (200, Fraction(1, 2))])
def test_a_lone_holder_is_scored_at_what_its_domain_counts_for(camp, voter, state, helpful, grouping, share):
    delta = {"B": decode_update(state, helpful).read("B", 0, state.layout.compute_size("B")).astype(np.int64)}
    state = replace(state, recipe=replace(state.recipe, grouping=grouping))
    blob = encode_update(make_update(state, delta))
    base = camp.reader.put_state(stream_state(state))
    current = Round(1, proposers=(Seat(ME, 1), Seat(OTHER, 2), Seat(HELPFUL, 1)))
    update = Proposal(camp.reader.store.put(blob), len(blob), domain=1)
    current.proposals.update({0: Proposal(bytes(32), 1), 1: Proposal(bytes(32), 1), 2: update})
    found = voter.mark_proposals(Case(get_model(), camp.reader, camp.rules, current, base, ME))[2]
    judged = compute_share(state, camp.reader.admit(state, update, camp.rules.norm_ceiling), share)
    assert found == Mark(voter._score(get_model(), state, base, judged))
    assert found.score > 0


class Asked(DirectoryStore):
    """A store that remembers what it was asked for."""

    def __init__(self, directory):
        super().__init__(directory)
        self.digests = []

    def fetch(self, digest, max_size):
        self.digests.append(digest)
        return super().fetch(digest, max_size)


def test_the_length_that_counts_is_that_of_what_can_be_merged_ones_own_included(camp, voter, state, helpful):
    """One's own is short; what is heavy, and longer, is inadmissible; what is heavier still cannot be had."""
    delta = decode_update(state, helpful).read("B", 0, state.layout.compute_size("B")).astype(np.int64) // 8
    state = replace(state, recipe=Recipe(clip=1000))
    reader = Reader(Asked(camp.reader.store.directory))
    base = reader.put_state(stream_state(state))
    seats = (Seat(ME, 2), Seat(HELPFUL, 1), Seat(OTHER, 4), Seat("0x" + "4" * 40, 5))
    current = Round(1, proposers=seats)
    for slot, times in enumerate((1, 2, 8)):
        blob = encode_update(make_update(state, {"B": delta * times}))
        current.proposals[slot] = Proposal(reader.store.put(blob), len(blob))
    current.proposals[3] = Proposal(digest(b"nowhere"), 7)
    updates = [reader.admit(state, current.proposals[slot], 1 << 30) for slot in range(3)]
    between = [math.isqrt(int(compute_squared_size(state, update) * 4**NORM_BITS)) for update in updates[1:]]
    rules = replace(camp.rules, norm_ceiling=sum(between) // 2)
    reader = Reader(reader.store)
    marks = voter.mark_proposals(Case(get_model(), reader, rules, current, base, ME))
    judged = compute_share(state, updates[1], find_share(state.recipe, current, 1))
    whole = voter._score(get_model(), state, base, judged)
    assert [marks[2].flags, marks[3].flags] == [Flag.INADMISSIBLE, Flag.UNAVAILABLE]
    assert 10 < marks[1].score == whole // 2
    assert reader.store.digests.count(current.proposals[3].digest) == 1


def test_a_slot_without_a_proposal_and_ones_own_are_abstained_from(camp, voter):
    current = Round(1, proposers=(Seat(OTHER, 1), Seat(ME, 1)))
    current.proposals[1] = Proposal(bytes(32), 1)
    marks = voter.mark_proposals(Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME))
    assert marks == [Mark(flags=Flag.ABSTAIN)] * 2


def test_who_cannot_measure_the_old_state_abstains_and_vetoes_nothing(camp, voter, helpful, monkeypatch):
    monkeypatch.setattr("openflock.node.voter.compute_loss", lambda *_: math.nan)
    assert mark(camp, voter, helpful) == Mark(flags=Flag.ABSTAIN)
    assert not is_vetoed(camp, voter, camp.rules, helpful)


def test_missing_bytes_are_unavailable(camp, voter):
    assert mark(camp, voter, b"never stored", stored=False) == Mark(flags=Flag.UNAVAILABLE)


def test_more_bytes_than_announced_are_unavailable(camp, voter, helpful):
    assert mark(camp, voter, helpful, size=len(helpful) - 1) == Mark(flags=Flag.UNAVAILABLE)


def test_spoiled_bytes_are_unavailable(camp, voter):
    spoiled = camp.reader.store.put(b"good bytes")
    (camp.reader.store.directory / spoiled.hex()).write_bytes(b"gone bytes")
    current = Round(1, proposers=(Seat(HELPFUL, 1),), proposals={0: Proposal(spoiled, 10)})
    marks = voter.mark_proposals(Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME))
    assert marks == [Mark(flags=Flag.UNAVAILABLE)]


def write_floats(state, value):
    """A well-formed safetensors file of the right names, in floats: what other systems send each other."""
    shapes = state.layout.compute_shapes("B")
    return save({f"B.{name}": np.full(shape, value, np.float32) for name, shape in shapes.items()})


def spoil_first(good, byte):
    """Change the first byte after the header."""
    at = 8 + int.from_bytes(good[:8], "little")
    return good[:at] + byte + good[at + 1 :]


MALFORMED = {
    "nothing": lambda good, state: b"\0",
    "truncated by a byte": lambda good, state: good[:-1],
    "truncated in the header": lambda good, state: good[:40],
    "a byte too long": lambda good, state: good + b"\0",
    "wrong keys": lambda good, state: good.replace(b"B.codes", b"B.codex"),
    "another factor": lambda good, state: good.replace(b'"B.', b'"A.'),
    "another parent": lambda good, state: good.replace(get_digest(state).hex().encode(), b"0" * 64),
    "another encoding": lambda good, state: good.replace(b'"int8"', b'"int4"'),
    "another width": lambda good, state: good.replace(b'"width":"2"', b'"width":"3"'),
    "floats": lambda good, state: write_floats(state, 0.5),
    "floats that are not numbers": lambda good, state: write_floats(state, np.nan),
    "larger than any update": lambda good, state: b"\0" * (max_update_size(state) + 1),
    "a header that claims a terabyte": lambda good, state: (2**40).to_bytes(8, "little") + good[8:],
    "a pickle under the name of a blob": lambda good, state: pickle.dumps({"weights": [1.0] * 50}),
    "a zip archive": lambda good, state: b"PK\3\4" + bytes(60),
    "deep nesting": lambda good, state: (9000).to_bytes(8, "little") + b'{"a":' + b"[" * 8995,
    "a scale that never occurs": lambda good, state: good[:-1] + b"\x80",
    "a number that never occurs": lambda good, state: spoil_first(good, b"\x80"),
    "over the norm ceiling": lambda good, state: make_large(state),
}


def make_large(state):
    largest = np.full(state.layout.compute_size("B"), 127 << 18)
    return encode_update(make_update(state, {"B": largest}))


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_bytes_are_flagged_as_inadmissible_and_crash_nobody(camp, voter, state, helpful, name):
    blob = MALFORMED[name](helpful, state)
    assert blob != helpful
    assert mark(camp, voter, blob) == Mark(flags=Flag.INADMISSIBLE)


def judge(camp, *blobs):
    """A round in which all the given updates were accepted."""
    current = Round(1, proposers=tuple(Seat(f"0x{slot:040x}", 1) for slot in range(len(blobs))))
    for slot, blob in enumerate(blobs):
        current.proposals[slot] = Proposal(camp.reader.store.put(blob), len(blob))
    current.judgements = (Judgement(Verdict.PAID, 5),) * len(blobs)
    return current


def is_vetoed(camp, voter, rules, blob):
    merge = voter.merge(camp.reader, rules, judge(camp, blob), rules.genesis)
    assert merge.duplicates == 0
    candidate = decode_state(b"".join(merge.stream()))
    assert get_digest(candidate) == merge.compute_digest()
    return voter.is_harmful(get_model(), camp.reader, rules, rules.genesis, candidate)


def test_a_merge_that_helps_is_not_vetoed_and_one_that_harms_is(camp, voter, state, helpful):
    assert not is_vetoed(camp, voter, camp.rules, helpful)
    assert is_vetoed(camp, voter, replace(camp.rules, tolerance=0), make_noise(state))


def test_voters_that_sum_in_other_orders_merge_the_same(camp, voter, state, helpful):
    current = judge(camp, helpful, make_noise(state), helpful)
    merges = [
        replace(voter, shuffle=shuffle).merge(camp.reader, camp.rules, current, camp.rules.genesis)
        for shuffle in range(4)
    ]
    assert len({merge.compute_digest() for merge in merges}) == 1
    assert {merge.duplicates for merge in merges} == {0x010}


@pytest.mark.parametrize("upheld", [True, False])
def test_a_voter_flags_what_a_standing_witness_holds_against_and_notes_it(
    camp, voter, state, monkeypatch, tmp_path, upheld
):
    voter.notebook = Notebook(tmp_path / "notebook.json")
    monkeypatch.setattr("openflock.node.voter.is_upheld", lambda *_: upheld)
    store, blob = camp.reader.store, make_noise(state)
    witness = Witness(OTHER, 1, store.put(encode_clue(Clue("some words", "zzz"))))
    current = Round(1, proposers=(Seat(ME, 1), Seat(HELPFUL, 1)))
    current.proposals.update({slot: Proposal(store.put(blob), len(blob)) for slot in (0, 1)})
    current.witnesses.update({0: (witness,), 1: (Witness(OTHER, 2, bytes(32)), witness)})
    case = Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)
    marks = voter.mark_proposals(case)
    own, other = voter.flag_suspects(case, marks)
    assert own == Mark(flags=Flag.ABSTAIN)
    assert other == replace(marks[1], flags=Flag.SUSPECT if upheld else NO_FLAGS)
    assert voter.notebook.read() == ((Clue("some words", "zzz"),) if upheld else ())


def test_witnesses_take_no_more_than_the_time_that_is_left_the_dearest_first(camp, voter, state, monkeypatch):
    """Whoever accuses may accuse everybody, with blobs that are nowhere: no ballot is lost by that."""
    tested, times = [], iter([None, TooLate("no time for more")])

    @contextmanager
    def watch(activity):
        if activity == "probe" and (late := next(times)):
            raise late
        yield

    monkeypatch.setattr("openflock.node.voter.is_upheld", lambda _, move, *rest: tested.append(move(WHOLE)) or True)
    voter = replace(voter, watch=watch)
    store, blobs = (
        camp.reader.store,
        [make_noise(state), encode_update(make_update(state, {"B": np.full(state.layout.compute_size("B"), 1 << 18)}))],
    )
    witness = store.put(encode_clue(Clue("some words", "zzz")))
    current = Round(1, proposers=(Seat(OTHER, 1), Seat(HELPFUL, 1)))
    current.proposals.update({slot: Proposal(store.put(blob), len(blob)) for slot, blob in enumerate(blobs)})
    current.witnesses.update({slot: (Witness(ME, bond, witness),) for slot, bond in enumerate((5, 6))})
    case = Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)
    flagged = voter.flag_suspects(case, voter.mark_proposals(case))
    assert [mark.flags for mark in flagged] == [NO_FLAGS, Flag.SUSPECT]
    assert len(tested) == 1


def test_what_was_lost_once_is_not_asked_for_again(camp, voter, monkeypatch):
    reader = Reader(Asked(camp.reader.store.directory))
    gone = Proposal(digest(b"nowhere"), 7)
    current = Round(1, proposers=(Seat(OTHER, 1),), proposals={0: gone}, witnesses={0: (Witness(ME, 1, bytes(32)),)})
    case = Case(get_model(), reader, camp.rules, current, camp.rules.genesis, ME)
    marks = voter.mark_proposals(case)
    assert list_unreadable(marks) == [0]
    assert voter.flag_suspects(case, marks) == marks
    sealed = reader.store.put(encode_sealed([get_rows(domain, 30, 4) for domain in range(2)], b"nonce"))
    assert Examiner([sealed], JUDGING).score_proposals(case, list_unreadable(marks)) == [None]
    assert reader.store.digests.count(gone.digest) == 1


def test_what_was_judged_ahead_is_not_judged_again_and_what_lacked_is(camp, helpful):
    bomb = b"no update of this task"
    helped, late = Proposal(camp.reader.store.put(helpful), len(helpful)), Proposal(digest(bomb), len(bomb))
    judged = []

    @contextmanager
    def note(activity):
        judged.append(activity)
        yield

    voter = Voter(get_rows(1, 3, 32), JUDGING, watch=note)
    current = Round(1, proposers=(Seat(HELPFUL, 1), Seat(OTHER, 1)), proposals={0: helped, 1: late})
    case = Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)
    voter.mark_ahead(case)
    judged.clear()
    assert [mark.flags for mark in voter.mark_proposals(case)] == [NO_FLAGS, Flag.UNAVAILABLE]
    camp.reader.store.put(bomb)
    assert [mark.flags for mark in voter.mark_proposals(case)] == [NO_FLAGS, Flag.INADMISSIBLE]
    assert judged == []
    current.proposals[1] = helped  # another round's: all is judged anew
    voter.mark_proposals(case)
    assert judged == ["evaluation"] * 2


def test_a_witness_s_text_that_the_template_refuses_proves_nothing_and_costs_no_ballot(
    camp, voter, state, helpful, monkeypatch
):
    tokenizer, store = get_model().tokenizer, camp.reader.store
    refuse = "{% if 'forbidden' in messages[-1]['content'] %}{{ raise_exception('no') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refuse + tokenizer.chat_template)
    witness = Witness(OTHER, 1, store.put(encode_clue(Clue("forbidden", "zzz"))))
    current = Round(1, proposers=(Seat(HELPFUL, 1),), witnesses={0: (witness,)})
    current.proposals[0] = Proposal(store.put(helpful), len(helpful))
    case = Case(get_model(), camp.reader, camp.rules, current, camp.rules.genesis, ME)
    marks = voter.mark_proposals(case)
    assert voter.flag_suspects(case, marks) == marks
