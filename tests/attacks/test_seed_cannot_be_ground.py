"""Fear: whoever closes the snapshot, opens last or moves stake chooses who is drawn."""

import pytest

from openflock.protocol.calls import Advance, Join, Leave, Resolve, Seeded, TopUp
from openflock.protocol.types import Act, Phase, Revert

from ..protocol.helpers import FREELOADER, LATECOMER, OUTSIDER, STAKE, Play, get_events, make_digest, play_round


def test_the_seed_s_block_does_not_exist_when_the_snapshot_closes(make_task):
    ledger = play_round(make_task(), until=Phase.DRAW)
    assert ledger.state.round.target > ledger.read(0)[-1].block
    with pytest.raises(Revert, match="no seed block yet"):
        ledger.submit(Advance(FREELOADER))


@pytest.mark.parametrize(
    "call",
    [
        Join(LATECOMER, 0, STAKE), TopUp(FREELOADER, 1), Leave(FREELOADER), Resolve(FREELOADER, FREELOADER),
    ],
)  # fmt: skip
def test_stakes_stand_still_until_the_draw(make_task, call):
    quarrel = Play(digest=lambda node, act: make_digest(f"{node if act == Act.ATTESTATION else FREELOADER}"))
    ledger = play_round(play_round(make_task(), quarrel), until=Phase.DRAW)
    with pytest.raises(Revert, match=r"^stakes: "):
        ledger.submit(call)


def test_waiting_until_a_hash_is_forgotten_leads_to_a_block_that_was_fixed_before(make_task):
    ledger = play_round(make_task(), until=Phase.DRAW)
    first = ledger.state.round.target
    for _ in range(first + 257 - ledger.read(0)[-1].block - 1):
        ledger.wait_until(0)
    ledger.submit(Advance(OUTSIDER))
    assert get_events(ledger, Seeded)[0].target == first + 256


def test_whoever_captures_the_seed_and_when_it_is_the_same(make_task):
    seeds = set()
    for captor, delay in ((OUTSIDER, 3), (FREELOADER, 100)):
        ledger = play_round(make_task(), until=Phase.DRAW)
        for _ in range(delay):
            ledger.wait_until(0)
        ledger.submit(Advance(captor))
        seeds.add(get_events(ledger, Seeded)[0].seed)
    assert len(seeds) == 1


def test_a_withheld_salt_changes_the_seed_before_its_block_exists(make_task):
    """Withholding costs a fee and buys a throw of dice, not a choice: the block that is mixed in comes later."""
    seeds = set()
    for hiding in ((), [FREELOADER]):
        ledger = play_round(make_task(), Play(hiding={Act.ATTESTATION: hiding}))
        assert ledger.state.phase == Phase.GATHER
        play_round(ledger, until=Phase.PROPOSE)
        seeds.add(get_events(ledger, Seeded)[1].seed)
    assert len(seeds) == 2
