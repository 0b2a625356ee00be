"""Scenarios: every strategy in the same small economy, beside the same seats held honestly.

Eight honest nodes with 70 % of the stake: three specialists and a generalist in one domain, three specialists in
another, the only holder of a third. A coalition has the other 30 %. In some scenarios it is honest, and a single
node is not: the `lone` specialist of the first domain, or the minority holder.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from openflock.arena.economy import strategies as does
from openflock.arena.economy.market import TOKEN, make_address
from openflock.arena.economy.scene import Player, Scene, Strategy
from openflock.arena.economy.strategies import GENERALIST, SEARCHER, SPECIALIST
from openflock.protocol.ballot import Mark

STAKE = 100 * TOKEN
COALITION = 342 * TOKEN  # 29.95 % of 1,142
POOL = 240 * TOKEN  # a round: 20 tokens a node, as in the demo
LONE, MINORITY, COALITION_ROLE = "lone", "minority holder", "coalition"
SEALED = "sealed rows"


@dataclass(frozen=True)
class Scenario:
    """Who plays how; `versus` names the scenario in which the same seats are honest."""

    name: str
    coalition: Strategy = SPECIALIST
    domains: tuple[int, ...] = (0, 1, 0, 1)  # of the coalition's nodes, which share its stake equally
    subject: str = COALITION_ROLE  # whose profit the scenario is about
    single: Strategy = SPECIALIST  # of the subject, where that is not the coalition
    versus: str = ""  # empty: nobody cheats
    searched: bool = False  # one specialist looks for backdoors
    sealed: bool = False  # the creator opens rows of each domain in each round
    figures: Mapping[str, float] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)


def lazy(
    name: str,
    mark: Callable[[Scene, Player, int], Mark],
    examine: Callable[[Scene, Player, int, Mark], int | None] = does.repeat,
) -> Iterator[Scenario]:
    """Let one node vote unseen, where all offer good updates, and where the coalition poisons."""
    strategy = replace(SPECIALIST, mark=mark, examine=examine, veto=does.veto_never)
    yield Scenario(f"lazy voter: {name}", subject=LONE, single=strategy, versus="honest")
    yield Scenario(f"lazy voter: {name}, beside poison", POISONER, subject=LONE, single=strategy, versus="loud poison")


def idle(holders: str, versus: str, domains: tuple[int, ...]) -> Scenario:
    """Let the minority holder send nothing: where that earns more, its honest work is not paid."""
    strategy = replace(SPECIALIST, offer=does.send_zero)
    return Scenario(
        f"free rider: {holders} of a domain", SPECIALIST, domains, subject=MINORITY, single=strategy, versus=versus
    )


def cheat(name: str, domains: tuple[int, ...] = (0, 1, 0, 1), versus: str = "honest", **acts: Any) -> Scenario:
    """Let the coalition depart from honesty in some acts; whose marks lie says the same of sealed rows."""
    examine = does.repeat if "mark" in acts else SPECIALIST.examine
    return Scenario(name, replace(SPECIALIST, examine=examine, **acts), domains, versus=versus)


def on_sealed(scenario: Scenario) -> Scenario:
    """Play a scenario where the creator opens sealed rows."""
    versus = f"{scenario.versus}, {SEALED}" if scenario.versus else ""
    return replace(scenario, name=f"{scenario.name}, {SEALED}", versus=versus, sealed=True)


def on_text(scenario: Scenario) -> Scenario:
    """Play a scenario where scores are those of real text, under rules that fit them."""
    versus = f"{scenario.versus}, on text" if scenario.versus else ""
    return replace(scenario, name=f"{scenario.name}, on text", versus=versus, figures=TEXT, rules=TEXT_RULES)


# Scores on real text are a tenth of those on the skills: configs/four_domains.toml over the four domains of text that
# the project is tried on (3 nodes each, round 1), read by the same script.
TEXT = {
    "own": 41.0,
    "own_spread": 30.0,
    "other": 6.0,
    "other_spread": 5.0,
    "rows_spread": 3.0,
    "broad": 20.0,
    "noise": 2.0,
}
# Full pay for twice the usual gain, so that honest work earns what it costs; harm beyond eight times what rows differ.
TEXT_RULES = {"tolerance": 40, "full_benefit": 80}
POISONER = replace(SPECIALIST, offer=does.poison_loudly)
SCENARIOS = (
    Scenario("honest"),
    Scenario("honest, seats drawn", rules={"proposer_seats": 6, "voter_seats": 9}),
    Scenario("honest, two hold the third domain", domains=(2, 1, 0, 1)),
    Scenario("honest, three hold the third domain", domains=(2, 2, 0, 1)),
    Scenario("honest, the coalition's stake whole", domains=(0,)),
    cheat("Sybil: one node's work under four names", (0,) * 4, "honest, the coalition's stake whole",
          offer=does.train_once, mark=does.look_once),
    cheat("free rider: zero update", offer=does.send_zero),
    cheat("free rider: noise", offer=does.send_noise),
    idle("the only holder", "honest", (0, 1, 0, 1)),
    idle("one of two holders", "honest, two hold the third domain", (2, 1, 0, 1)),
    idle("one of three holders", "honest, three hold the third domain", (2, 2, 0, 1)),
    cheat("copycat: near-duplicates", (1,) * 4, offer=does.train_and_copy),
    cheat("copycat: others' old updates", offer=does.send_stale),
    cheat("copycat: others' old updates, disguised", offer=does.send_disguised),
    cheat("overlong update", offer=does.train_and_stretch),
    cheat("loud poison", offer=does.poison_loudly),
    cheat("harm within tolerance", offer=does.poison_within),
    cheat("malformed update", offer=does.send_malformed),
    cheat("hidden backdoor", offer=does.hide_backdoor),
    replace(cheat("hidden backdoor, searched for", offer=does.hide_backdoor), searched=True, figures={"found": 0.016}),
    *lazy("constant", does.say_good),
    *lazy("coin", does.say_anything),
    *lazy("last verdict", does.say_as_before),
    *lazy("last benefit", does.rank_as_before),
    *lazy("by weight", does.rank_by_weight),
    *lazy("own domain only", does.look_at_own_domain),
    cheat("lazy ring: by slot", mark=does.rank_by_slot, veto=does.veto_never),
    cheat("ring in an empty domain", (3,) * 4, offer=does.send_zero, mark=does.praise_partners),
    cheat("ring in an honest domain", (1,) * 4, offer=does.send_zero, mark=does.praise_partners),
    cheat("griefing: harm, as half of a domain", (1,) * 4, mark=does.call_harmful),
    cheat("griefing: harm, pair in an empty domain", (3,) * 2, mark=does.call_harmful),
    cheat("griefing: unavailable", mark=does.call_unavailable),
    cheat("veto abuse", veto=does.veto_always),
    cheat("false witness", accuse=does.accuse_falsely, mark=does.call_suspect),
    on_sealed(Scenario("honest")),
    on_sealed(Scenario("honest, two hold the third domain", domains=(2, 1, 0, 1))),
    on_sealed(cheat("free rider: zero update", offer=does.send_zero)),
    on_sealed(idle("the only holder", "honest", (0, 1, 0, 1))),
    on_sealed(idle("one of two holders", "honest, two hold the third domain", (2, 1, 0, 1))),
    on_sealed(cheat("ring in an empty domain", (3,) * 4, offer=does.send_zero, mark=does.praise_partners)),
    on_sealed(cheat("lazy ring in an empty domain", (3,) * 4, mark=does.rank_strangers, veto=does.veto_never)),
    on_sealed(cheat("griefing: harm, as half of a domain", (1,) * 4, mark=does.call_harmful)),
    on_sealed(next(lazy("last benefit", does.rank_as_before))),
    on_sealed(next(lazy("own rows only", does.look, does.look_away))),
    on_sealed(next(lazy("own rows for both words", does.look, does.repeat))),
    on_sealed(next(lazy("sealed rows for both words", does.look_at_sealed, does.repeat))),
    on_text(Scenario("honest")),
    on_text(cheat("free rider: noise", offer=does.send_noise)),
    on_text(cheat("overlong update", offer=does.train_and_stretch)),
    on_text(cheat("harm within tolerance", offer=does.poison_within)),
    on_text(Scenario("loud poison", POISONER, versus="honest")),
    *map(on_text, lazy("constant", does.say_good)),
    *map(on_text, lazy("last benefit", does.rank_as_before)),
)  # fmt: skip


def build_players(scenario: Scenario, seed: int) -> list[Player]:
    """Seat everybody."""
    searcher = SEARCHER if scenario.searched else SPECIALIST
    seats = [
        ("specialist", 0, STAKE, SPECIALIST),
        ("searcher" if scenario.searched else "specialist", 0, STAKE, searcher),
        (LONE, 0, STAKE, scenario.single if scenario.subject == LONE else SPECIALIST),
        ("generalist", 0, STAKE, GENERALIST),
        *[("specialist", 1, STAKE, SPECIALIST)] * 3,
        (MINORITY, 2, STAKE, scenario.single if scenario.subject == MINORITY else SPECIALIST),
    ]
    share = COALITION // len(scenario.domains)
    seats += [(COALITION_ROLE, domain, share, scenario.coalition) for domain in scenario.domains]
    addresses = [make_address(f"player {index}") for index in range(len(seats))]
    partners = frozenset(addresses[8:])
    return [
        Player(
            address, *seat, partners if seat[0] == COALITION_ROLE else frozenset([address]), Random(f"{seed} {index}")
        )
        for index, (address, seat) in enumerate(zip(addresses, seats, strict=True))
    ]
