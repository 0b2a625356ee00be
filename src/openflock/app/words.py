"""Say in words what a task's numbers mean: its rules, its weak points, its times and amounts."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from openflock.app.settings import TOKEN, SettingsError
from openflock.app.tables import format_tokens
from openflock.arena.committees import warn_weak
from openflock.protocol.rules import SHARE, Rules
from openflock.protocol.types import Amount, Phase

UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
SCORE = 100  # score units of one per cent

# Below these a task works, but protects less; see docs/threat-model.md.
FEW_NODES = 6
SHORT_PHASE = 60  # seconds


def format_span(seconds: int) -> str:
    """Write a span of time in its two largest units.

    >>> format_span(7 * 86_400), format_span(125), format_span(0), format_span(-3)
    ('7 days', '2 min 5 s', '0 s', '-3 s')
    """
    if seconds < 0:
        return f"-{format_span(-seconds)}"
    parts = []
    for unit, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}")
    return " ".join(parts[:2]) or "0 s"


def format_time(time: int) -> str:
    """Write a time of the chain.

    >>> format_time(1_700_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"second {time}"


def format_deadline(phase: Phase, deadline: int, now: int) -> str:
    """Say how long a phase may still last."""
    if phase == Phase.FINISHED:
        return "the task is over"
    if phase == Phase.DRAW:
        return f"waits for block {deadline}"
    left = deadline - now
    rest = f"{format_span(left)} left" if left >= 0 else f"over since {format_span(-left)}: anyone may move on"
    return f"until {format_time(deadline)} at the latest, {rest}"


def parse_tokens(text: str) -> Amount:
    """Read an amount of tokens.

    >>> parse_tokens("12.5")
    12500000000000000000
    """
    try:
        amount = Decimal(text) * TOKEN
        if amount <= 0 or amount >= 2**128 or amount != amount.to_integral_value():
            raise SettingsError(f"{text}: not an amount of tokens: write one above 0, with at most 18 decimals")
    except InvalidOperation as error:
        raise SettingsError(f"{text}: not an amount of tokens: write a number, as 12.5") from error
    return int(amount)


def describe_rules(rules: Rules) -> list[tuple[str, str]]:
    """Say what the rules ask, a line a subject."""
    times = (f"{name} {format_span(getattr(rules, name))}" for name in ("gather", "propose", "publish", "probe"))
    later = (f"{name} {format_span(getattr(rules, name))}" for name in ("vote", "reveal", "attest", "confirm"))
    unproven = "is not merged" if rules.reject_unproven else "is merged unpaid (by sealed rows: is not merged)"
    return [
        ("rounds", f"{rules.rounds}, each with {rules.min_nodes} nodes or more"),
        ("phases", f"{', '.join(times)}, {', '.join(later)}; all but gather and probe end early when all have acted"),
        (
            "stake",
            f"{format_tokens(rules.min_stake)} tokens or more; free {format_span(rules.unbonding)} after leaving",
        ),
        (
            "committees",
            f"{rules.proposer_seats} proposers, {rules.voter_seats} voters; {rules.min_voters} ballots or more",
        ),
        (
            "judging",
            f"an update by which over {_percent(rules.domain_quorum)} of the votes see their domains get worse"
            f" by more than {rules.tolerance / SCORE:g} % of the base's loss is rejected;"
            f" one that makes its own better by less than {rules.min_benefit / SCORE:g} % {unproven}",
        ),
        (
            "pay",
            f"{_percent(rules.proposer_share)} of a round's budget for updates, the rest for votes;"
            f" full pay from {rules.full_benefit / SCORE:g} % better",
        ),
        ("at risk", _describe_risks(rules)),
        ("size", f"an update has at most {rules.max_size / 2**20:,.1f} MiB"),
    ]


def _describe_risks(rules: Rules) -> str:
    bond = rules.bond
    losses = (("inadmissible", rules.inadmissible_slash), ("backdoor", rules.backdoor_slash))
    shown = ", ".join(f"{what} {format_tokens(bond * share // SHARE)}" for what, share in losses)
    wrong = format_tokens(bond * rules.digest_slash // SHARE)
    silence = f"{format_tokens(rules.no_show_fee)}, at most {format_tokens(rules.fee_cap)} a round"
    return f"tokens a seat: silence {silence}, {shown}, wrong digest {wrong}"


def _percent(share: int) -> str:
    return f"{share * 100 / SHARE:g} %"


def list_weaknesses(rules: Rules, stakes: Sequence[Amount], holders: int | None = None) -> Iterator[str]:
    """List what makes a task weak: with these stakes, and with so many nodes that hold each domain."""
    yield from warn_weak(rules, stakes)
    if rules.min_nodes < FEW_NODES:
        blockers = rules.min_nodes // 3 + 1
        yield (
            f"min_nodes = {rules.min_nodes}: among so few, {blockers} nodes of equal stake can stop every round;"
            f" {FEW_NODES} or more are safer"
        )
    if holders is not None and holders < 3:
        yield f"{holders} nodes a domain: two others must see a benefit before it is paid; plan 3 or more"
    if 3 * rules.domain_quorum < SHARE:
        yield (
            f"domain_quorum = {rules.domain_quorum}: whoever has more than {_percent(rules.domain_quorum)} of the votes"
            " can have every update rejected; 3334 is a third"
        )
    short = [name for name in ("propose", "publish", "vote", "reveal", "attest") if getattr(rules, name) < SHORT_PHASE]
    if short:
        yield (
            f"{', '.join(short)} under {SHORT_PHASE} s: a node that restarts, or a slow chain, misses them and pays"
            " the fee for silence"
        )
