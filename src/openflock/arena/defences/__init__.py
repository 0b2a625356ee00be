"""What others would do with a round's proposals, in floats: baselines to stand beside the protocol, never on a ledger.

Each defence is a function from `Proposals` to an `Aggregate`. Published rules count heads; here they count weight, and
are the published ones where all weigh the same.

proposals.py    what a defence sees and gives; broken updates are rejected before it sees any
robust.py       mean, median, trimmed mean, Krum, Multi-Krum, geometric median, Bulyan, NNM + trimmed mean
filters.py      norm clip + noise, FLTrust, FoolsGold, FLAME
votes.py        a clean-loss vote, FLock's own game, an oracle filter, a random filter
"""

from collections.abc import Mapping
from typing import Final

from openflock.arena.defences.filters import clip_and_noise, flame, fltrust, foolsgold
from openflock.arena.defences.proposals import Aggregate, BadProposals, Defence, Proposals
from openflock.arena.defences.robust import (
    bulyan,
    geometric_median,
    krum,
    mean,
    median,
    multi_krum,
    nnm_trimmed_mean,
    trimmed_mean,
)
from openflock.arena.defences.votes import clean_loss_vote, flock_game, oracle_filter, random_filter

__all__ = ["DEFENCES", "Aggregate", "BadProposals", "Defence", "Proposals"]

DEFENCES: Final[Mapping[str, Defence]] = {
    defence.__name__: defence
    for defence in (
        mean,
        krum,
        multi_krum,
        trimmed_mean,
        median,
        geometric_median,
        bulyan,
        nnm_trimmed_mean,
        clip_and_noise,
        fltrust,
        foolsgold,
        flame,
        clean_loss_vote,
        flock_game,
        oracle_filter,
        random_filter,
    )
}
