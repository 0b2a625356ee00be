"""Rules: every number that all nodes of a task must agree on, and why some sets of rules cannot work."""

from dataclasses import dataclass, fields

SHARE = 10_000  # shares are in basis points


class BadRules(ValueError):
    """Refuse rules that cannot work; the text says which and what would."""


@dataclass(frozen=True)
class Rules:
    """All that must be agreed; fixed when the task is created.

    Times are seconds, shares basis points of 10,000, scores 1e-4 of the base's loss, amounts the token's
    smallest unit. The order of the fields is the order of the contract's struct.
    """

    base: bytes  # SHA-256 of the base's weight and tokenizer files
    job: bytes  # digest of the blob that names base, adapter and domains for people and programs
    genesis: bytes  # digest of the initial global state, which the job's seed determines
    domains: int
    rounds: int
    min_nodes: int
    min_voters: int  # distinct opened ballots without which a round is void
    proposer_seats: int
    voter_seats: int
    min_stake: int
    bond: int  # what one seat puts at risk
    gather: int  # time in which nodes may join or leave, before each round
    propose: int
    publish: int
    probe: int
    expose: int
    vote: int
    reveal: int
    attest: int
    confirm: int
    seed_delay: int  # blocks between the snapshot of stakes and the block whose hash is the seed
    max_tries: int  # gathers or seed windows missed before a round is idle
    unbonding: int
    max_size: int  # bytes of an update
    norm_ceiling: int  # largest norm of an update's product, in 2**-16
    tolerance: int  # harm up to here is noise
    domain_quorum: int  # share of the opened weight; harm seen by more than this rejects an update
    min_benefit: int  # score from which a benefit is proven
    full_benefit: int  # score that earns a proposal its whole share
    reject_unproven: int  # 1: what has no proven benefit is not merged, also where no sealed rows decided
    duplicate_cosine: int  # thousandths; above it two updates share one payout
    proposer_share: int  # share of a round's budget for proposals; the rest is for votes
    agreement_share: int  # share of the votes' part that correlated agreement moves
    no_show_fee: int
    hidden_ballot_fee: int
    fee_cap: int  # most that no-shows cost a node in one round
    inadmissible_slash: int  # share of the bond
    backdoor_slash: int
    digest_slash: int
    bounty_share: int  # share of what a backdoor's proposer lost that its accusers get
    witness_bond: int
    witnesses: int  # standing witnesses per proposal

    def __post_init__(self) -> None:
        """Say at once, in one line, what cannot work."""
        for check in (_check_types, _check_committees, _check_phases, _check_judging, _check_money):
            check(self)


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise BadRules(reason)


def _check_types(rules: Rules) -> None:
    for field in fields(rules):
        value = getattr(rules, field.name)
        if field.type in (bytes, "bytes"):
            _require(isinstance(value, bytes) and len(value) == 32, f"rules: {field.name} must be 32 bytes")
        else:
            _require(isinstance(value, int) and 0 <= value < 2**128, f"rules: {field.name} must be in [0, 2**128)")


def _check_committees(rules: Rules) -> None:
    _require(1 <= rules.domains <= 16, "rules: domains must be 1 to 16")
    _require(1 <= rules.rounds <= 100_000, "rules: rounds must be 1 to 100,000")
    _require(1 <= rules.proposer_seats <= 16, "rules: proposer_seats must be 1 to 16")
    _require(3 <= rules.voter_seats <= 32, "rules: voter_seats must be 3 to 32")
    _require(2 <= rules.min_voters <= rules.voter_seats, "rules: min_voters must be 2 to voter_seats")
    _require(
        max(3, rules.min_voters) <= rules.min_nodes <= 4096,
        "rules: too few nodes: min_nodes must be at least 3 and min_voters, at most 4,096",
    )


def _check_phases(rules: Rules) -> None:
    for name in ("gather", "propose", "publish", "probe", "expose", "vote", "reveal", "attest", "confirm"):
        _require(1 <= getattr(rules, name) <= 30 * 86_400, f"rules: {name} must last 1 second to 30 days")
    _require(1 <= rules.seed_delay <= 128, "rules: seed_delay must be 1 to 128 blocks")
    _require(1 <= rules.max_tries <= 100, "rules: max_tries must be 1 to 100")
    round_time = sum(compute_phase_times(rules))
    _require(
        round_time <= rules.unbonding <= 365 * 86_400,
        f"rules: unbonding must outlast a round with its appeal ({round_time} s), and end within a year",
    )


def _check_judging(rules: Rules) -> None:
    _require(1 <= rules.max_size < 2**40, "rules: max_size must be 1 byte to 1 TiB")
    _require(rules.norm_ceiling >= 1, "rules: norm_ceiling must be positive")
    _require(rules.tolerance <= 2047, "rules: tolerance must be at most 2,047 (20.47 %)")
    _require(rules.domain_quorum <= SHARE, "rules: domain_quorum is a share of 10,000")
    _require(
        1 <= rules.min_benefit <= rules.full_benefit <= 2047,
        "rules: min_benefit and full_benefit must be 1 to 2,047, in this order",
    )
    _require(rules.reject_unproven <= 1, "rules: reject_unproven is 0 or 1")
    _require(1 <= rules.duplicate_cosine <= 1000, "rules: duplicate_cosine must be 1 to 1,000")
    _require(1 <= rules.witnesses <= 4, "rules: witnesses must be 1 to 4")


def _check_money(rules: Rules) -> None:
    _require(1 <= rules.bond <= rules.min_stake, "rules: bond must be positive and at most min_stake")
    _require(rules.min_stake <= 2**88, "rules: min_stake must be at most 2**88")
    for name in ("proposer_share", "inadmissible_slash", "backdoor_slash", "digest_slash"):
        _require(getattr(rules, name) <= SHARE, f"rules: {name} is a share of 10,000")
    _require(rules.agreement_share <= SHARE // 2, "rules: agreement_share must be at most half (5,000)")
    _require(rules.bounty_share <= SHARE // 2, "rules: bounty_share must be at most half (5,000)")
    _require(
        rules.no_show_fee <= rules.hidden_ballot_fee <= rules.fee_cap <= rules.bond,
        "rules: no_show_fee <= hidden_ballot_fee <= fee_cap <= bond must hold",
    )
    _require(1 <= rules.witness_bond <= 2**88, "rules: witness_bond must be 1 to 2**88")


def compute_phase_times(rules: Rules) -> tuple[int, ...]:
    """Give the seconds of each phase, indexed by `Phase`; the appeal has the times of the attestation."""
    acts = (rules.propose, rules.publish, rules.probe, rules.expose, rules.vote, rules.reveal)
    return (rules.gather, 0, *acts, *(rules.attest, rules.confirm) * 2, 0)
