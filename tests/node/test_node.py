from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from openflock.learn.probe import Clue
from openflock.learn.sealed import encode_sealed
from openflock.node.examiner import Examiner
from openflock.node.node import Identity
from openflock.protocol.ballot import get_sealed_score
from openflock.protocol.calls import Advance, Commit, Confirm, Join, Publish, Reveal
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.ports import BlobMissing
from openflock.protocol.round import is_complete
from openflock.protocol.types import (
    Act,
    Attestation,
    Judgement,
    Phase,
    Proposal,
    Round,
    Seat,
    Verdict,
    commit_phase,
    open_phase,
)
from openflock.protocol.verdict import list_accepted

from ..protocol.helpers import OUTSIDER, make_genesis, mine_past_seed
from .helpers import JUDGING, get_rows, make_camp

ROLES = ("proposer", "rival", "voter")
OPENING = {Act.UPDATE: Publish, Act.BALLOT: Reveal, Act.ATTESTATION: Confirm}


@pytest.fixture
def camp(tmp_path):
    camp = make_camp(tmp_path)
    for position, role in enumerate(ROLES):
        camp.pitch(role, position % 2)
    return camp


def let_act(ledger, nodes):
    """Let the nodes make the calls they want to make; return them."""
    calls = []
    for node in nodes:
        while (call := node.decide(ledger.state)) is not None:
            ledger.submit(call)
            calls.append(call)
    return calls


def move_on(ledger):
    if ledger.state.phase == Phase.DRAW:
        return mine_past_seed(ledger)
    if not is_complete(ledger.state):
        ledger.wait_until(ledger.state.deadline + 1)
    return ledger.submit(Advance(OUTSIDER))


def play_until(ledger, nodes, phase):
    while ledger.state.phase != phase:
        let_act(ledger, nodes)
        move_on(ledger)
    return ledger


def restart(camp, tmp_path):
    """All nodes anew, as after a crash: memory is lost, files are not."""
    camp.journal.close()
    fresh = make_camp(tmp_path)
    for position, role in enumerate(ROLES):
        fresh.pitch(role, position % 2)
    return fresh.nodes


# --- What it decides -----------------------------------------------------------------------------------------


def test_nodes_train_against_the_last_six_clues_of_their_notebooks(camp):
    ledger = camp.open_ledger()
    play_until(ledger, camp.nodes, Phase.PROPOSE)

    def work():
        return [node.work(ledger.state, Act.UPDATE) for node in camp.nodes]

    def note(*insertions):
        for node in camp.nodes:
            for insertion in insertions:
                node.voter.notebook.note(Clue(insertion, "done", "front"), tested=False)
        return work()

    plain, six, seven = work(), note(*"abcdef"), note("g")
    assert plain != six != seven
    for node in camp.nodes:
        node.voter.notebook.strike(Clue("a", "done", "front"))
    assert work() == seven


def test_a_node_joins_once_and_then_waits_for_its_turn(camp):
    ledger, node = camp.open_ledger(), camp.nodes[0]
    assert node.decide(ledger.state) == Join(node.identity.address, 0, node.identity.stake)
    ledger.submit(node.decide(ledger.state))
    assert node.decide(ledger.state) is None


def test_each_act_is_committed_once_and_opened_with_what_was_committed(camp):
    ledger = camp.open_ledger()
    for act, kind in OPENING.items():
        play_until(ledger, camp.nodes, commit_phase(act))
        number, committed = ledger.state.round.number, let_act(ledger, camp.nodes)
        assert [type(call) for call in committed] == [Commit] * 3
        assert let_act(ledger, camp.nodes) == []
        play_until(ledger, camp.nodes, open_phase(act))
        opened = let_act(ledger, camp.nodes)
        assert [type(call) for call in opened] == [kind] * 3
        for commit, opening in zip(committed, opened, strict=True):
            task = ledger.get_genesis()
            bound = (task.chain, task.task, number, act, opening.sender, compute_content(opening), opening.salt)
            assert compute_commitment(*bound) == commit.commitment


def test_a_voter_waits_for_sealed_rows_and_votes_without_them_if_they_never_come(camp):
    blob = encode_sealed([get_rows(domain, 30) for domain in range(2)], b"nonce")
    for node in camp.nodes:
        node.examiner = Examiner([sha256(blob).digest()], JUDGING)
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.PUBLISH)
    camp.nodes[0].fetch_ahead(ledger.state)  # not open yet, so not waited for
    play_until(ledger, camp.nodes, Phase.VOTE)
    with pytest.raises(BlobMissing):
        camp.nodes[0].fetch_ahead(ledger.state)
    without = camp.nodes[0].work(ledger.state, Act.BALLOT)
    assert isinstance(without, Reveal)
    assert without.sealed == 0
    camp.reader.store.put(blob)
    camp.nodes[1].fetch_ahead(ledger.state)
    examined = camp.nodes[1].work(ledger.state, Act.BALLOT)
    assert [get_sealed_score(examined.sealed, slot) != 0 for slot in range(3)] == [
        seat.node != camp.nodes[1].identity.address for seat in ledger.state.round.proposers
    ]


def test_who_has_no_seat_makes_no_call(camp):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.PROPOSE)
    outsider = camp.pitch("outsider", 0)
    assert outsider.decide(ledger.state) is None


def test_the_wrong_phase_makes_no_call(camp):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.PROBE)
    assert [node.decide(ledger.state) for node in camp.nodes] == [None] * 3


def test_who_cannot_merge_does_not_attest(camp, tmp_path):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.ATTEST)
    lost = ledger.state.round.proposals[0].digest
    (camp.reader.store.directory / lost.hex()).unlink()
    assert [node.decide(ledger.state) for node in restart(camp, tmp_path)] == [None] * 3


def test_who_is_to_merge_lists_what_it_has_not_read_yet_and_no_more_once_it_has_attested(camp, tmp_path):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.ATTEST)
    accepted = {ledger.state.round.proposals[slot].digest for slot in list_accepted(ledger.state.round)}
    fresh = restart(camp, tmp_path)
    assert {digest for digest, _ in fresh[0].list_wanted(ledger.state)} == accepted
    assert isinstance(fresh[0].decide(ledger.state), Commit)
    assert fresh[0].list_wanted(ledger.state) == []


def test_what_was_merged_before_holds_up_no_ballot(camp, tmp_path):
    ledger = camp.open_ledger()
    while ledger.state.round.number < 3:
        let_act(ledger, camp.nodes)
        move_on(ledger)
    play_until(ledger, camp.nodes, Phase.VOTE)
    (camp.reader.store.directory / ledger.state.merged[0].proposals[0].digest.hex()).unlink()
    voter = restart(camp, tmp_path)[0]
    voter.fetch_ahead(ledger.state)
    assert isinstance(voter.work(ledger.state, Act.BALLOT), Reveal)


def test_what_was_admitted_once_is_merged_though_its_bytes_are_gone(camp):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.ATTEST)
    for proposal in ledger.state.round.proposals.values():
        (camp.reader.store.directory / proposal.digest.hex()).unlink()
    assert len({node.decide(ledger.state).act for node in camp.nodes}) == 1


# --- Salts ---------------------------------------------------------------------------------------------------

ME = Identity("0x" + "1" * 40, b"secret", 0, 1)
TASK = make_genesis()


def test_a_salt_repeats_and_is_bound_to_all_that_a_commitment_is():
    first = ME.compute_salt(TASK, 1, Act.UPDATE)
    assert first == ME.compute_salt(TASK, 1, Act.UPDATE)
    others = [
        ME.compute_salt(replace(TASK, chain=TASK.chain + 1), 1, Act.UPDATE),
        ME.compute_salt(replace(TASK, task="0x" + "9" * 40), 1, Act.UPDATE),
        ME.compute_salt(TASK, 2, Act.UPDATE),
        *(ME.compute_salt(TASK, 1, act) for act in Act if act != Act.UPDATE),
        replace(ME, secret=b"other").compute_salt(TASK, 1, Act.UPDATE),
    ]
    assert len({first, *others}) == 1 + len(others)
    assert {len(salt) for salt in (first, *others)} == {32}


def test_batches_differ_by_round_and_node_and_are_no_salt():
    seeds = [ME.compute_batch_seed(TASK, 1), ME.compute_batch_seed(TASK, 2)]
    seeds.append(replace(ME, secret=b"other").compute_batch_seed(TASK, 1))
    assert len(set(seeds)) == 3
    assert seeds[0] == ME.compute_batch_seed(TASK, 1)
    assert seeds[0].to_bytes(6, "big") != ME.compute_salt(TASK, 1, Act.UPDATE)[:6]


# --- What became of its updates ------------------------------------------------------------------------------

NOW, AGREED = b"n" * 32, b"a" * 32
MINE, THEIRS = b"m" * 32, b"t" * 32


def settle(camp, judgements, agreed, slot=0, offered=MINE):
    """Let a node see how a round ended in which it had a slot; returns the rest that it keeps, and if one waits."""
    ledger, node = camp.open_ledger(), camp.nodes[0]
    me, feedback = node.identity.address, node.proposer.feedback
    for step, (value, name) in enumerate(((7, b"old" * 8), (8, offered))):
        feedback.offer("B", step, np.full(3, value, np.int32), name)
        feedback.settle(b"old" * 8, merged=True, judged=False)
    seats = [Seat(OUTSIDER, 1), Seat(OUTSIDER, 1)]
    seats[slot] = Seat(me, 1)
    ended = Round(1, proposers=tuple(seats), judgements=judgements, agreed=agreed and Attestation(agreed, 0, False))
    ended.proposals.update({0: Proposal(MINE, 1), 1: Proposal(THEIRS, 1)})
    now = replace(ledger.state, phase=Phase.PROPOSE, digest=NOW, ended=ended)
    now.round.commitments[Act.UPDATE, me] = b"c" * 32
    assert node.decide(now) is None
    assert node.decide(now) is None  # looking twice changes nothing
    waits = camp.path / "feedback" / ROLES[0] / "B.offered.safetensors"
    return int(feedback.recall("B", 1 if waits.exists() else 2, 3)[0]), waits.exists()


PAID, UNPAID, HARMFUL = (Judgement(verdict) for verdict in (Verdict.PAID, Verdict.UNPAID, Verdict.HARMFUL))


@pytest.mark.parametrize(
    ("judgements", "agreed", "kept"),
    [
        ((PAID, PAID), NOW, 8),  # merged
        ((UNPAID, HARMFUL), NOW, 8),
        ((HARMFUL, PAID), NOW, 0),  # refused, and others merged
        ((HARMFUL, HARMFUL), None, 0),
        ((HARMFUL, PAID), AGREED, 0),
        ((PAID, PAID), AGREED, 7),  # vetoed: agreed, and not what counts
        ((PAID, PAID), None, 7),  # no digest found two thirds
        ((), None, 7),  # void: too few ballots
    ],
)
def test_a_rest_is_kept_or_dropped_with_its_update(camp, judgements, agreed, kept):
    assert settle(camp, judgements, agreed) == (kept, False)


def test_the_outcome_of_another_slot_or_update_decides_nothing_of_ones_own(camp):
    assert settle(camp, (PAID, PAID), NOW, slot=1) == (7, True)  # mine is the other slot's, of another digest
    assert settle(camp, (PAID, PAID), NOW, offered=b"on its way".ljust(32)) == (7, True)


def test_who_had_no_slot_or_published_nothing_waits(camp):
    node, ledger = camp.nodes[0], camp.open_ledger()
    feedback = node.proposer.feedback
    feedback.offer("B", 0, np.full(3, 8, np.int32), MINE)
    for ended in (None, Round(1), Round(1, proposers=(Seat(node.identity.address, 1),))):
        now = replace(ledger.state, phase=Phase.PROPOSE, ended=ended)
        assert node.decide(now) is None
    feedback.settle(MINE, merged=True, judged=False)
    assert feedback.recall("B", 1, 3).tolist() == [8] * 3


def test_an_update_on_its_way_is_not_settled_by_the_round_before(camp, tmp_path):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.ATTEST)
    play_until(ledger, camp.nodes, Phase.PROPOSE)
    names = {"A.offered.safetensors", "B.safetensors"}
    for give_nodes in (lambda: camp.nodes, lambda: restart(camp, tmp_path)):
        for node, role in zip(give_nodes(), ROLES, strict=True):
            assert node.decide(ledger.state) == node.decide(ledger.state)
            assert {file.name for file in (tmp_path / "feedback" / role).iterdir()} == names


# --- Crashes and secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", OPENING)
def test_after_a_crash_a_node_opens_what_it_committed_to(camp, tmp_path, act):
    ledger = play_until(camp.open_ledger(), camp.nodes, open_phase(act))
    wanted = [node._recall(ledger.state, act) for node in camp.nodes]
    opened = let_act(ledger, restart(camp, tmp_path))
    assert opened == wanted
    assert [type(call) for call in opened] == [OPENING[act]] * 3


def test_a_crash_before_the_commitment_was_sent_changes_nothing_of_it(camp, tmp_path):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.PROPOSE)
    unsent = [node.decide(ledger.state) for node in camp.nodes]
    assert [node.decide(ledger.state) for node in restart(camp, tmp_path)] == unsent


def test_a_crash_before_the_journal_was_written_trains_the_same_again(camp, tmp_path):
    ledger = play_until(camp.open_ledger(), camp.nodes, Phase.PROPOSE)
    unsent = [node.decide(ledger.state) for node in camp.nodes]
    for file in tmp_path.glob("journal.db*"):
        file.unlink()
    assert [node.decide(ledger.state) for node in restart(camp, tmp_path)] == unsent


@pytest.mark.parametrize("act", [Act.UPDATE, Act.ATTESTATION])
def test_bytes_are_not_in_the_shared_store_before_they_are_opened(camp, act):
    ledger = play_until(camp.open_ledger(), camp.nodes, open_phase(act))
    hidden = [node._recall(ledger.state, act).digest for node in camp.nodes]
    for digest in hidden:
        with pytest.raises(BlobMissing):
            camp.reader.store.fetch(digest, 2**40)
    let_act(ledger, camp.nodes)
    assert all(camp.reader.store.fetch(digest, 2**40) for digest in hidden)
