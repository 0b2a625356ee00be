"""Whose rows are whose: share the rows of a configuration out to nodes, and seal the creator's."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from openflock.app.settings import BUILT_IN, DEFAULT_RULES, Attacker, Config, SettingsError
from openflock.learn.data import Row, list_domains, load_domain, parse_row
from openflock.learn.sealed import BadSealed, encode_sealed
from openflock.learn.skills import generate_rows
from openflock.protocol.ports import BlobStore
from openflock.protocol.types import Digest


@dataclass(frozen=True)
class Holdings:
    """One node's private rows."""

    domain: int
    train: list[Row]
    held_out: list[Row]
    attacker: Attacker | None = None
    rank: int = 0  # of what it adds where updates are stacked; 0 is the task's


def list_data_domains(config: Config) -> list[str]:
    """List the domains that take part."""
    if len(set(config.domains)) < len(config.domains):
        raise SettingsError("domains: one is named twice; name each once")
    if config.domains:
        return config.domains
    if config.data == BUILT_IN:
        raise SettingsError("domains: name the skills that take part")
    return list_domains(Path(config.data))


def load_split(config: Config, domain: str, split: str, count: int) -> list[Row]:
    """Load the first rows of a domain's split."""
    if config.data == BUILT_IN:
        try:
            records = generate_rows(domain, count, config.seed, split)
        except ValueError as error:
            raise SettingsError(f"domains: {error}") from error
        return [parse_row(record, domain) for record in records]
    return load_domain(Path(config.data), domain, split)[:count]


def share_rows(config: Config, domains: Sequence[str]) -> list[Holdings]:
    """Share each domain's rows out: disjoint rows for each node, of which it holds a part out for judging."""
    attackers = list(config.attackers)
    unknown = [attacker.domain for attacker in attackers if attacker.domain not in domains]
    if unknown:
        raise SettingsError(f"attackers: no domain {unknown[0]!r}; choose one of {', '.join(domains)}")
    shares: list[Holdings] = []
    for index, domain in enumerate(domains):
        malicious = [attacker for attacker in attackers if attacker.domain == domain]
        roles: list[Attacker | None] = [None] * (config.nodes_per_domain - len(malicious)) + malicious
        rows = load_split(config, domain, "train", len(roles) * (config.rows.train + config.rows.held_out))
        size = len(rows) // len(roles)
        if size < 2:
            raise SettingsError(f"data: {domain} has {len(rows)} rows, too few for {len(roles)} nodes")
        for position, attacker in enumerate(roles):
            mine = rows[position * size : (position + 1) * size]
            held_out = min(config.rows.held_out, size // 2)
            rank = config.ranks[len(shares) % len(config.ranks)] if config.ranks else 0
            shares.append(Holdings(index, mine[held_out:], mine[:held_out], attacker, rank))
    return shares


def seal_rows(config: Config, domains: Sequence[str], chest: BlobStore, secret: bytes) -> list[Digest]:
    """Put the rows of each round into the creator's chest; give their digests.

    They are DATA/<domain>/sealed.jsonl in order, or skills that no node has. `secret` keeps others from guessing.
    """
    count, rounds = config.rows.sealed, {**DEFAULT_RULES, **config.rules}["rounds"]
    if not count:
        return []
    of_domains = [load_sealed(config, domain, count * rounds) for domain in domains]
    parts = [[rows[count * number : count * (number + 1)] for rows in of_domains] for number in range(rounds)]
    nonces = [sha256(secret + f" sealed {config.seed}/{number}".encode()).digest() for number in range(rounds)]
    try:
        return [chest.put(encode_sealed(part, nonce)) for part, nonce in zip(parts, nonces, strict=True)]
    except BadSealed as error:
        raise SettingsError(f"rows.sealed: {error}") from error


def load_sealed(config: Config, domain: str, count: int) -> list[Row]:
    """Load what the creator seals of a domain; SettingsError if that is too little."""
    if config.data == BUILT_IN:
        taken = config.nodes_per_domain * (config.rows.train + config.rows.held_out)
        return load_split(config, domain, "train", taken + count)[taken:]
    rows = load_split(config, domain, "sealed", count)
    if len(rows) < count:
        raise SettingsError(
            f"rows.sealed: {config.data}/{domain}/sealed.jsonl has {len(rows)} rows, {count} are needed"
            f" ({config.rows.sealed} a round): add rows, or lower it"
        )
    return rows
