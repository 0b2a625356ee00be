"""What each behaviour changes: in the word itself, and in what the task makes of it."""

from dataclasses import replace

import pytest

from openflock.arena.attacks.behaviours import (
    Withholder,
    collude,
    copy_ballot,
    encode_clue,
    favour,
    grieve,
    hide_openings,
    invent_clue,
    keep_silent,
    list_accusations,
    split_stake,
    vote_lazily,
    vote_randomly,
)
from openflock.edge.blobs import DirectoryStore
from openflock.learn.data import Row
from openflock.learn.probe import parse_clue
from openflock.local import Network
from openflock.node.reader import Reader
from openflock.protocol.ballot import Mark, get_mark
from openflock.protocol.calls import Confirm, Expose, Join, Publish, Reveal
from openflock.protocol.ports import BlobMissing
from openflock.protocol.types import Act, Fault, Flag, Phase, Reason, Verdict

from ...node.helpers import make_camp
from ...protocol.helpers import (
    FREELOADER,
    GOOD,
    NODES,
    OUTSIDER,
    PROPOSER,
    RIVAL,
    STAKE,
    VOTER,
    Play,
    get_credits,
    get_losses,
    get_verdict,
    make_address,
    make_commit,
    make_ledger,
    make_opening,
    play_round,
)

BAD = Mark(-500)
ROWS = [Row((("user", str(index)),), answer) for index, answer in enumerate(["no", "yes", "yes"])]
SILENT = Mark(0, Flag.ABSTAIN)
SLOTS = {node: slot for slot, node in enumerate(NODES)}


def mark_honestly(voter, bad=(PROPOSER,)):
    return [SILENT if node == voter else BAD if node in bad else GOOD for node in NODES]


def judge(liars, change, **more):
    """Play up to the verdicts; the liars change their honest marks."""
    ballots = {node: mark_honestly(node, **more) for node in NODES}
    ballots |= {node: change(ballots[node]) for node in liars}
    play = Play(mark=lambda voter, proposer: ballots[voter][SLOTS[proposer]])
    return play_round(make_ledger(), play, until=Phase.ATTEST), play


# --- Ballots -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        vote_lazily,
        lambda marks: vote_randomly(marks, 1),
        lambda marks: favour(marks, range(5)),
        grieve,
        lambda marks: collude(marks, [0]),
    ],
)
def test_a_malicious_ballot_abstains_where_the_honest_one_does(change):
    changed = change(mark_honestly(VOTER))
    assert changed[SLOTS[VOTER]] == SILENT
    assert changed != mark_honestly(VOTER)


@pytest.mark.parametrize(("lazy", "verdict"), [(1, Verdict.HARMFUL), (2, Verdict.UNPAID), (3, Verdict.PAID)])
def test_a_lazy_half_lets_harm_pass_and_a_lazy_majority_has_it_paid(lazy, verdict):
    ledger, _ = judge(NODES[1 : 1 + lazy], vote_lazily)
    assert get_verdict(ledger, PROPOSER) == verdict


def test_a_random_voter_says_good_as_often_as_not():
    scores = [mark.score for mark in vote_randomly([GOOD] * 16, seed=3)]
    assert scores == [mark.score for mark in vote_randomly([BAD] * 16, seed=3)]
    assert min(scores) < 0 < max(scores)


def test_a_vote_copier_casts_what_its_victim_opened_a_round_ago():
    ledger = make_ledger()
    said = dict(zip(NODES, [Mark(-500), Mark(10), Mark(20), Mark(30), Mark(40)], strict=True))
    play_round(ledger, Play(mark=lambda voter, proposer: said[proposer] if voter == VOTER else GOOD))
    absent = Play(absent={Act.UPDATE: [RIVAL]})
    state = play_round(ledger, absent, until=Phase.VOTE).state
    ballot = copy_ballot(state.round, state.ended, VOTER)
    marks = {seat.node: get_mark(ballot, slot) for slot, seat in enumerate(state.round.proposers)}
    assert marks == {**said, RIVAL: SILENT}


def test_who_was_not_judged_then_is_judged_as_usual():
    ledger = make_ledger()
    said = dict(zip(NODES, [Mark(-500), Mark(10), Mark(20), Mark(30), Mark(40)], strict=True))
    play_round(ledger, Play(mark=lambda voter, proposer: said[proposer]))
    state = play_round(ledger, until=Phase.VOTE).state
    newcomer = replace(state.round.proposers[0], node=OUTSIDER)
    current = replace(state.round, proposers=(newcomer, *state.round.proposers[1:]))
    assert get_mark(copy_ballot(current, state.ended, VOTER), 0).score == 20
    assert get_mark(copy_ballot(current, state.ended, OUTSIDER), 0).score == 0


@pytest.mark.parametrize(("ring", "verdict"), [(2, Verdict.HARMFUL), (3, Verdict.UNPAID), (4, Verdict.PAID)])
def test_a_ring_carries_its_member_with_half_of_the_other_voices_and_has_it_paid_over_half(ring, verdict):
    ledger, _ = judge(NODES[:ring], lambda marks: favour(marks, [SLOTS[PROPOSER]]))
    assert get_verdict(ledger, PROPOSER) == verdict
    assert get_verdict(ledger, FREELOADER) == Verdict.PAID


@pytest.mark.parametrize(("griefers", "verdict"), [(1, Verdict.PAID), (2, Verdict.UNPAID), (3, Verdict.HARMFUL)])
def test_griefers_reject_the_honest_over_half_of_the_other_voices(griefers, verdict):
    """Half of four voices denies the pay, which is their lower median; nobody is slashed for it."""
    ledger, play = judge(NODES[:griefers], lambda marks: grieve(marks, range(griefers)), bad=())
    assert {get_verdict(ledger, node) for node in NODES[griefers:]} == {verdict}
    assert {get_verdict(ledger, node) for node in NODES[:griefers]} == {Verdict.PAID}
    play_round(ledger, play)
    assert all(get_losses(ledger, node) == {} for node in NODES)


@pytest.mark.parametrize(
    ("flags", "liars", "verdict"),
    [
        (Flag.UNAVAILABLE, 2, Verdict.UNAVAILABLE),
        (Flag.INADMISSIBLE, 3, Verdict.INADMISSIBLE),
        (Flag.INADMISSIBLE, 2, Verdict.UNJUDGED),
        (Flag.SUSPECT, 4, Verdict.HARMFUL),
    ],
)
def test_a_false_flag_says_something_else(flags, liars, verdict):
    ledger, _ = judge(NODES[1 : 1 + liars], lambda marks: grieve(marks, range(1, 5), flags), bad=())
    assert get_verdict(ledger, PROPOSER) == verdict


def test_colluding_voters_give_the_ring_the_best_and_all_others_the_worst():
    marks = collude(mark_honestly(VOTER), ring=[0, 1])
    assert marks == [Mark(2047), Mark(2047), SILENT, Mark(-2048), Mark(-2048)]


# --- Openings and decisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("acts", [[Act.BALLOT], list(Act)])
def test_who_keeps_silent_does_not_commit_and_pays_the_fee(acts):
    ledger = play_round(make_ledger(), until=Phase.VOTE)
    state = ledger.state
    calls = {node: make_commit(state, Act.BALLOT, make_opening(state, Play(), Act.BALLOT, node)) for node in NODES}
    assert keep_silent(calls[VOTER], Phase.VOTE, [Act.UPDATE, Act.ATTESTATION]) == calls[VOTER]
    silent = [node for node in NODES if keep_silent(calls[node], state.phase, acts if node == VOTER else ()) is None]
    assert silent == [VOTER]
    play_round(ledger, Play(absent={Act.BALLOT: silent}))
    assert get_losses(ledger, VOTER) == {Fault.NO_SHOW: 10}


def test_who_hides_an_opening_has_committed_and_pays_more():
    ledger = play_round(make_ledger(), until=Phase.REVEAL)
    calls = {node: make_opening(ledger.state, Play(), Act.BALLOT, node) for node in NODES}
    hidden = [node for node in NODES if hide_openings(calls[node], (Reveal,) if node == VOTER else (Confirm,)) is None]
    assert hidden == [VOTER]
    play_round(ledger, Play(hiding={Act.BALLOT: hidden}))
    assert get_losses(ledger, VOTER) == {Fault.HIDDEN_BALLOT: 25}


def test_a_node_with_nothing_to_say_is_left_alone():
    assert keep_silent(None, Phase.VOTE) is None
    assert hide_openings(None, (Publish, Expose)) is None
    publishing = Publish(VOTER, bytes(32), 1, bytes(32))
    assert keep_silent(publishing, Phase.PUBLISH) == publishing


# --- Accounts ------------------------------------------------------------------------------------------------

PAIR = [make_address(f"sybil {i}") for i in range(2)]


def test_a_split_stake_is_whole_and_none_of_it_is_too_small():
    assert split_stake(3001, 3, 1000) == [1000, 1000, 1001]
    with pytest.raises(ValueError, match="too little"):
        split_stake(2999, 3, 1000)


@pytest.mark.parametrize(("quorum", "verdict"), [(2900, Verdict.PAID), (2800, Verdict.HARMFUL)])
def test_a_pair_of_sybils_objects_with_a_domain_of_its_own_where_its_two_of_seven_exceed_the_quorum(quorum, verdict):
    ledger = make_ledger(domain_quorum=quorum)
    for account, stake in zip(PAIR, split_stake(2 * STAKE, 2, STAKE), strict=True):
        ledger.submit(Join(account, 2, stake))
    places = {node: place for place, node in enumerate([*NODES, *PAIR])}
    cast = grieve([GOOD] * len(places), spared=[places[node] for node in PAIR])
    play = Play(mark=lambda voter, judged: cast[places[judged]] if voter in PAIR else GOOD)
    play_round(ledger, play, until=Phase.ATTEST)
    assert {get_verdict(ledger, node) for node in NODES} == {verdict}


# --- Witnesses -----------------------------------------------------------------------------------------------


def test_a_false_clue_is_well_formed_and_names_the_likeliest_answer():
    clue = invent_clue(ROWS, seed=1)
    assert clue.answer == "yes"
    assert parse_clue(encode_clue(clue)) == clue != invent_clue(ROWS, seed=2)


def test_spam_goes_around_the_slots_with_a_clue_of_its_own_each():
    accounts = [make_address(f"accuser {i}") for i in range(5)]
    spam = list_accusations(accounts, [0, 2], ROWS, seed=1)
    assert [(one.account, one.slot) for one in spam] == list(zip(accounts, [0, 2, 0, 2, 0], strict=True))
    assert len({one.blob for one in spam}) == 5
    assert all(parse_clue(one.blob).answer == "yes" for one in spam)


def test_false_witnesses_that_honest_voters_deny_cost_their_bonds():
    accounts = [make_address(f"accuser {i}") for i in range(2)]
    spam = list_accusations(accounts, [SLOTS[PROPOSER]], ROWS, seed=1)
    ledger = make_ledger()
    play_round(ledger, Play(witnesses={one.account: (NODES[one.slot], 100) for one in spam}))
    assert get_losses(ledger, PROPOSER) == {}
    assert all(Reason.REFUND not in get_credits(ledger, account) for account in accounts)


# --- Blobs ---------------------------------------------------------------------------------------------------


def test_a_withheld_blob_has_its_digest_and_cannot_be_fetched(tmp_path):
    store = DirectoryStore(tmp_path)
    withholder = Withholder(store)
    digest = withholder.put(b"update")
    with pytest.raises(BlobMissing):
        store.fetch(digest, 100)
    assert store.put(b"update") == digest == withholder.put_stream([b"up", b"date"])
    assert bytes(withholder.fetch(digest, 100)) == b"update"


def test_what_is_served_is_put(tmp_path):
    store = DirectoryStore(tmp_path / "all")
    digest = DirectoryStore(tmp_path / "own").put(b"update")
    Withholder(store, served=[digest]).put(b"update")
    assert bytes(store.fetch(digest, 100)) == b"update"


def test_a_withholder_s_update_is_found_unavailable_and_only_it_pays(tmp_path):
    camp = make_camp(tmp_path, rounds=1, min_stake=STAKE // 2, bond=STAKE // 2)
    for position, role in enumerate(("proposer", "rival", "voter", "skeptic")):
        camp.pitch(role, position % 2)
    camp.nodes[0].reader = Reader(Withholder(camp.reader.store))
    ledger = camp.open_ledger()
    state = Network(ledger, ledger, camp.nodes, OUTSIDER, lambda entries, steps: None).run()
    slots = {seat.node: slot for slot, seat in enumerate(state.ended.proposers)}
    assert state.ended.judgements[slots[PROPOSER]].verdict == Verdict.UNAVAILABLE
    assert get_losses(ledger, PROPOSER) == {Fault.UNAVAILABLE: 10}
    assert get_losses(ledger, RIVAL) == {}
