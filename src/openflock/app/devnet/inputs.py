"""What each node of a devnet is given: a key, a password, rows and settings."""

import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openflock.app.devnet.record import SECRETS
from openflock.app.settings import BUILT_IN, Config
from openflock.edge.wallet import create_wallet
from openflock.learn.data import list_domains
from openflock.learn.skills import generate_rows

WORK = 2**12  # scrypt's cost for keys that own play money for some minutes


@dataclass
class Member:
    """One node of a devnet."""

    name: str
    domain: str
    address: str
    keys: Path  # its wallet and password, beside the devnet's directory
    process: subprocess.Popen[bytes] | None = None


# --- Keys ----------------------------------------------------------------------------------------------------


@contextmanager
def keep_keys() -> Iterator[Path]:
    """Make a directory for keys, for nobody else to read, and remove it at the end."""
    directory = Path(tempfile.mkdtemp(prefix=SECRETS))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def make_members(config: Config, count: int, keys: Path) -> list[Member]:
    """Make the nodes, one domain after the other, each with a key and a password of its own."""
    domains = config.domains or list_domains(Path(config.data))
    members = []
    for number in range(count):
        domain = domains[number % len(domains)]
        name = f"{domain}-{number // len(domains) + 1}"
        members.append(Member(name, domain, make_keys(keys / name), keys / name))
    return members


def make_keys(place: Path) -> str:
    """Make a wallet and its password; return its address."""
    place.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    (place / "password").touch(mode=0o600)
    (place / "password").write_text(password)
    return create_wallet(place / "wallet.json", password, WORK)


# --- Rows and settings ---------------------------------------------------------------------------------------


def write_inputs(out: Path, config: Config, members: Sequence[Member]) -> None:
    """Write every node's rows, no row to two nodes, and the settings that all share."""
    holders = config.nodes_per_domain
    size = config.rows.train + config.rows.held_out
    for domain in {member.domain for member in members}:
        lines = load_lines(config, domain, size * holders)
        size = min(size, len(lines) // holders)
        mine = [member for member in members if member.domain == domain]
        for number, member in enumerate(mine):
            file = out / "data" / f"{member.name}.jsonl"
            file.write_text("".join(line + "\n" for line in lines[number * size : (number + 1) * size]))
    train = config.train.model_dump()
    values = "".join(f"{name} = {json.dumps(value)}\n" for name, value in train.items())
    (out / "node.toml").write_text(f"held_out = {config.rows.held_out}\n\n[train]\n{values}")


def load_lines(config: Config, domain: str, count: int) -> list[str]:
    """Load the first rows of a domain as lines of JSON."""
    if config.data == BUILT_IN:
        return [json.dumps(row) for row in generate_rows(domain, count, config.seed)]
    text = (Path(config.data) / domain / "train.jsonl").read_text()
    return [line for line in text.split("\n") if line.strip()][:count]
