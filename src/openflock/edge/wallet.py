"""Wallets: a key in a keystore file (Web3 Secret Storage, version 3), opened by a password.

Any Ethereum tool reads the same file. The key leaves this module only inside the account that signs with it.
"""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import is_address

from openflock.protocol.encoding import parse_json
from openflock.protocol.types import Address

MODE = 0o600
MAX_SIZE = 65_536
# What a keystore of a stranger may ask of this machine before its password is even tried.
MAX_MEMORY = 2**30
MAX_ITERATIONS = 2**24


class WalletError(ValueError):
    """A wallet or a password that cannot be used; the text is one line."""


def create_wallet(path: Path, password: str, work: int | None = None) -> Address:
    """Create a key and write its keystore; a file that is there stays as it is.

    `work` is scrypt's cost, a power of two: the default takes about a second and 256 MB, to make guessing dear.
    """
    if not password:
        raise WalletError("the password is empty: choose one that nobody guesses")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError as error:
        raise WalletError(f"{path}: there is a file already; nothing was written: choose another name") from error
    except FileNotFoundError as error:
        raise WalletError(f"{path}: no such directory: make it first") from error
    try:
        account: LocalAccount = Account.create()
        keystore = Account.encrypt(account.key, password, "scrypt", work)
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(keystore, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()  # it is ours, and half a keystore is none
        raise
    return account.address.lower()


def open_wallet(path: Path, password: str) -> LocalAccount:
    """Open a keystore."""
    keystore = _read(path)
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(keystore, password))
    except ValueError as error:
        if "mac mismatch" in str(error).lower():
            raise WalletError(f"{path}: wrong password") from error
        raise WalletError(f"{path}: not a keystore that can be opened") from error
    except (KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise WalletError(f"{path}: not a keystore that can be opened") from error
    if account.address.lower() != _get_address(keystore):
        raise WalletError(f"{path}: it holds the key of another address than it says")
    return account


def read_address(path: Path) -> Address:
    """Read whose key a keystore holds, as the file says; no password is needed."""
    return _get_address(_read(path))


def derive_secret(account: LocalAccount) -> bytes:
    """Derive what a node's salts follow from; it changes with the key alone, so a lost directory loses no salt."""
    return sha256(b"salts" + account.key).digest()


# --- Helpers -------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            keystore = parse_json(file.read(MAX_SIZE))
    except FileNotFoundError as error:
        raise WalletError(f"{path}: no such wallet: make one with openflock wallet new {path}") from error
    except (ValueError, RecursionError) as error:
        raise WalletError(f"{path}: not a keystore: {error}") from error
    try:
        well = keystore["version"] == 3 and is_address(_get_address(keystore)) and _is_bounded(keystore["crypto"])
    except (KeyError, TypeError, AttributeError, ValueError):
        well = False
    if not well:
        raise WalletError(f"{path}: not a keystore of version 3 (scrypt or pbkdf2) that can be opened")
    return dict(keystore)


def _is_bounded(crypto: dict[str, Any]) -> bool:
    numbers = crypto["kdfparams"]
    if crypto["kdf"] == "pbkdf2":
        return bool(0 < numbers["c"] <= MAX_ITERATIONS)
    memory, lanes = 128 * numbers["n"] * numbers["r"], numbers["p"]
    return bool(crypto["kdf"] == "scrypt" and 0 < memory <= MAX_MEMORY and 0 < lanes <= 16)


def _get_address(keystore: dict[str, Any]) -> Address:
    return "0x" + str(keystore["address"]).lower().removeprefix("0x")
