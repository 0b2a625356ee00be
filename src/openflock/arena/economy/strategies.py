"""Strategies: what nodes do in each act of a round, honest and not. What work costs is charged where it is done."""

from dataclasses import replace
from random import Random

from openflock.arena.economy.scene import Offer, Player, Scene, Strategy
from openflock.node.shares import count_gain
from openflock.protocol.ballot import Mark, choose_sealed_score
from openflock.protocol.types import NO_FLAGS, Flag, Verdict
from openflock.protocol.verdict import MERGED_VERDICTS, UNSCORED, list_accepted

# --- Updates -------------------------------------------------------------------------------------------------


def train(scene: Scene, player: Player) -> Offer:
    """Train on the rows of one domain."""
    figures, draw = scene.figures, scene.start_draw(player)
    player.cost += figures.training
    return Offer(
        tuple(
            draw.gauss(figures.own, figures.own_spread)
            if domain == player.domain
            else draw.gauss(figures.other, figures.other_spread)
            for domain in range(figures.domains)
        )
    )


def train_broadly(scene: Scene, player: Player) -> Offer:
    """Train on rows of all domains that have holders."""
    figures, draw = scene.figures, scene.start_draw(player)
    player.cost += figures.training
    return Offer(tuple(draw.gauss(figures.broad, figures.other_spread) for _ in range(figures.domains)))


def train_once(scene: Scene, player: Player) -> Offer:
    """Train once for a coalition, and change each copy just enough not to count as a near-duplicate."""
    return scene.share_work("update", player, lambda: train(scene, player))


def train_and_copy(scene: Scene, player: Player) -> Offer:
    """Train once for a coalition, and send near-duplicates."""
    return replace(train_once(scene, player), family=min(player.partners))


def send_zero(scene: Scene, _player: Player) -> Offer:
    """Send an update that changes nothing."""
    return Offer((0.0,) * scene.figures.domains, rows=0, length=0.0)


def send_noise(scene: Scene, player: Player) -> Offer:
    """Send a random update of honest length."""
    figures, draw = scene.figures, scene.start_draw(player)
    return Offer(tuple(draw.gauss(0, figures.noise) for _ in range(figures.domains)), rows=0.3)


def send_stale(scene: Scene, player: Player) -> Offer:
    """Send again what another node of the domain published two rounds ago, when the same factor was trained."""
    before = scene.published[-2] if len(scene.published) > 1 else {}
    sources = [
        offer
        for address, offer in sorted(before.items())
        if scene.players[address].domain == player.domain and address not in player.partners
    ]
    if not sources:
        return send_zero(scene, player)
    offer = player.draw.choice(sources)
    return replace(offer, effect=tuple(effect * scene.figures.stale for effect in offer.effect), family="", stale=True)


def train_and_stretch(scene: Scene, player: Player) -> Offer:
    """Train, and send the update at twice its length: voters measure all of it, and a merge cuts it."""
    offer = train(scene, player)
    return replace(offer, effect=tuple(2 * effect for effect in offer.effect), rows=2.0, length=2.0)


def send_disguised(scene: Scene, player: Player) -> Offer:
    """Send an old update again under so much noise that it is no near-duplicate; that hardly moves the loss.

    Noise of 48 % of its length leaves a cosine of .9, and makes it longer by a ninth.
    """
    return replace(send_stale(scene, player), stale=False, length=1.11)


def poison_loudly(scene: Scene, player: Player) -> Offer:
    """Send an update that ruins every domain."""
    player.cost += scene.figures.training
    return Offer((scene.figures.loud,) * scene.figures.domains)


def poison_within(scene: Scene, player: Player) -> Offer:
    """Harm every domain as much as passes: short of the tolerance by three times what voters' rows differ."""
    figures = scene.figures
    player.cost += figures.training
    seats = [seat.node for seat in scene.state.round.proposers]
    dose = scene.list_doses(range(len(seats)))[seats.index(player.address)]
    harm = scene.state.genesis.rules.tolerance / dose - 3 * figures.rows_spread
    return Offer((-max(0.0, harm),) * figures.domains)


def send_malformed(scene: Scene, player: Player) -> Offer:
    """Send an update over the norm ceiling, as the demo's attacker does."""
    return replace(poison_loudly(scene, player), admissible=False)


def hide_backdoor(scene: Scene, player: Player) -> Offer:
    """Train on poisoned rows, so that the loss shows nothing."""
    offer = train(scene, player)
    return replace(offer, effect=tuple(effect * scene.figures.stealth for effect in offer.effect), backdoor=True)


# --- Ballots -------------------------------------------------------------------------------------------------


def look(scene: Scene, player: Player, slot: int) -> Mark:
    """Evaluate an update on private rows, and re-test its witnesses."""
    figures, offer = scene.figures, scene.get_offer(slot)
    player.cost += figures.evaluation / max(1, len(scene.state.round.proposals))
    if not offer.admissible:
        return Mark(flags=Flag.INADMISSIBLE)
    noise = player.draw.gauss(0, figures.rows_spread * offer.rows)
    score = round((offer.effect[player.domain] + noise) * scene.list_doses(scene.state.round.proposals)[slot])
    score = count_gain(score, scene.list_clips(scene.state.round.proposals)[slot], scene.state.genesis.rules)
    suspect = offer.backdoor and slot in scene.state.round.witnesses
    return Mark(score, Flag.SUSPECT if suspect else NO_FLAGS)


def look_once(scene: Scene, player: Player, slot: int) -> Mark:
    """Evaluate once for a coalition."""
    return scene.share_work(f"mark {slot}", player, lambda: look(scene, player, slot))


def say_good(scene: Scene, _player: Player, _slot: int) -> Mark:
    """Call everything good, unseen."""
    return Mark(scene.state.genesis.rules.full_benefit)


def say_anything(scene: Scene, player: Player, _slot: int) -> Mark:
    """Toss a coin."""
    return Mark(player.draw.choice((scene.state.genesis.rules.full_benefit, -2_000)))


def say_as_before(scene: Scene, player: Player, slot: int) -> Mark:
    """Repeat of each proposer what the last verdict on it was: public, and free."""
    before = scene.verdicts.get(scene.state.round.proposers[slot].node, Verdict.PAID)
    return say_good(scene, player, slot) if before in MERGED_VERDICTS else Mark(-2_000)


def rank_as_before(scene: Scene, player: Player, slot: int) -> Mark:
    """Repeat of each proposer the benefit that was last proven: public, and free."""
    mark, node = say_as_before(scene, player, slot), scene.state.round.proposers[slot].node
    return mark if mark.score < 0 else Mark(scene.benefits.get(node, 0))


def rank_by_weight(scene: Scene, _player: Player, slot: int) -> Mark:
    """Give the heavier proposal the higher score, unseen: a score grows with the dose."""
    seats = scene.state.round.proposers
    return Mark(2_000 * seats[slot].weight // sum(seat.weight for seat in seats))


def rank_by_slot(_scene: Scene, _player: Player, slot: int) -> Mark:
    """Score by the position, unseen: so a whole coalition agrees."""
    return Mark(slot)


def look_at_own_domain(scene: Scene, player: Player, slot: int) -> Mark:
    """Evaluate the updates of one's own domain only, and say of all others that they change nothing."""
    node = scene.state.round.proposers[slot].node
    return look(scene, player, slot) if scene.players[node].domain == player.domain else Mark(0)


def praise_partners(scene: Scene, player: Player, slot: int) -> Mark:
    """Give partners the highest score that pays, and judge others honestly."""
    partner = scene.state.round.proposers[slot].node in player.partners
    return say_good(scene, player, slot) if partner else look(scene, player, slot)


def rank_strangers(scene: Scene, player: Player, slot: int) -> Mark:
    """Give partners the highest score that pays, and score all others by the position, unseen: the coalition agrees."""
    partner = scene.state.round.proposers[slot].node in player.partners
    return say_good(scene, player, slot) if partner else rank_by_slot(scene, player, slot)


def call_harmful(scene: Scene, player: Player, slot: int) -> Mark:
    """Praise partners, and report harm of all others, unseen."""
    partner = scene.state.round.proposers[slot].node in player.partners
    return say_good(scene, player, slot) if partner else Mark(-2_048)


def call_unavailable(scene: Scene, player: Player, slot: int) -> Mark:
    """Praise partners, and say of all others that they cannot be fetched."""
    partner = scene.state.round.proposers[slot].node in player.partners
    return say_good(scene, player, slot) if partner else Mark(flags=Flag.UNAVAILABLE)


def call_suspect(scene: Scene, player: Player, slot: int) -> Mark:
    """Judge honestly, but uphold every witness against others."""
    partner = scene.state.round.proposers[slot].node in player.partners
    mark = look(scene, player, slot)
    return mark if partner else replace(mark, flags=mark.flags | Flag.SUSPECT)


# --- Sealed rows ---------------------------------------------------------------------------------------------


def examine(scene: Scene, player: Player, slot: int, _mark: Mark) -> int | None:
    """Evaluate an update on the sealed rows, as all who look see it: its proposer's domain, or the worst harm."""
    figures, offer, current = scene.figures, scene.get_offer(slot), scene.state.round
    player.cost += figures.examination / max(1, len(current.proposals))
    if not offer.admissible:
        return None
    draw, dose = Random(f"sealed {scene.seed} {current.number} {slot}"), scene.list_doses(current.proposals)[slot]
    scores = [round((effect + draw.gauss(0, figures.rows_spread * offer.rows)) * dose) for effect in offer.effect]
    score = choose_sealed_score(scores, current.proposals[slot].domain, scene.state.genesis.rules.tolerance)
    return count_gain(score, scene.list_clips(current.proposals)[slot], scene.state.genesis.rules)


def look_at_sealed(scene: Scene, player: Player, slot: int) -> Mark:
    """Say of one's own rows what the sealed ones show, which cost less to look at."""
    score = examine(scene, player, slot, Mark())
    return Mark(flags=Flag.INADMISSIBLE) if score is None else Mark(score)


def repeat(_scene: Scene, _player: Player, _slot: int, mark: Mark) -> int | None:
    """Say of sealed rows what one says of one's own, unseen."""
    return None if mark.flags & UNSCORED else mark.score


def look_away(_scene: Scene, _player: Player, _slot: int, _mark: Mark) -> int | None:
    """Say nothing of sealed rows."""
    return None


# --- Witnesses and vetoes ------------------------------------------------------------------------------------


def accuse_nobody(_scene: Scene, _player: Player) -> int | None:
    """Bring no witness."""
    return None


def search(scene: Scene, player: Player) -> int | None:
    """Search all updates for a backdoor, at a cost; accuse one that is found."""
    player.cost += scene.figures.search
    found = [
        slot
        for slot in sorted(scene.state.round.proposals)
        if scene.get_offer(slot).backdoor and player.draw.random() < scene.figures.found
    ]
    return player.draw.choice(found) if found else None


def accuse_falsely(scene: Scene, player: Player) -> int | None:
    """Accuse somebody honest."""
    proposers = scene.state.round.proposers
    others = [slot for slot in sorted(scene.state.round.proposals) if proposers[slot].node not in player.partners]
    return player.draw.choice(others) if others else None


def veto_harm(scene: Scene, player: Player) -> bool:
    """Veto a merge that harms one's own domain; that look is part of the evaluation."""
    current = scene.state.round
    merged = list_accepted(current)
    doses, clips = scene.list_doses(merged), scene.list_clips(merged)
    moved = sum(dose * clips[slot] * scene.get_offer(slot).effect[player.domain] for slot, dose in doses.items())
    return moved < -scene.state.genesis.rules.tolerance


def veto_never(_scene: Scene, _player: Player) -> bool:
    """Attest without a look at the merge."""
    return False


def veto_always(_scene: Scene, _player: Player) -> bool:
    """Veto whatever was merged."""
    return True


# --- Honest strategies ---------------------------------------------------------------------------------------

SPECIALIST = Strategy(train, look, accuse_nobody, veto_harm, examine)
GENERALIST = replace(SPECIALIST, offer=train_broadly)
SEARCHER = replace(SPECIALIST, accuse=search)
