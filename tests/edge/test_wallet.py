import json
import stat

import pytest
from eth_account import Account

from openflock.edge.wallet import WalletError, create_wallet, open_wallet, read_address

LIGHT = 2**4  # scrypt's cost; the default takes a second
PASSWORD = "a long pass phrase"


@pytest.fixture
def wallet(tmp_path):
    create_wallet(tmp_path / "wallet.json", PASSWORD, LIGHT)
    return tmp_path / "wallet.json"


def test_a_wallet_opens_with_its_password_to_the_key_of_its_address(wallet):
    account = open_wallet(wallet, PASSWORD)
    assert account.address.lower() == read_address(wallet)
    assert Account.from_key(account.key).address == account.address


def test_two_wallets_hold_different_keys(tmp_path):
    assert create_wallet(tmp_path / "a", PASSWORD, LIGHT) != create_wallet(tmp_path / "b", PASSWORD, LIGHT)


def test_nobody_else_may_read_a_wallet_and_it_holds_no_key_in_the_clear(wallet):
    assert stat.S_IMODE(wallet.stat().st_mode) == 0o600
    assert open_wallet(wallet, PASSWORD).key.hex() not in wallet.read_text()


def test_a_wallet_is_a_keystore_that_other_programs_read(wallet):
    keystore = json.loads(wallet.read_text())
    assert keystore["version"] == 3
    assert keystore["crypto"]["kdf"] == "scrypt"
    assert Account.decrypt(keystore, PASSWORD) == open_wallet(wallet, PASSWORD).key


def test_a_wrong_password_is_refused(wallet):
    with pytest.raises(WalletError, match="wrong password"):
        open_wallet(wallet, PASSWORD + "!")


def test_a_file_that_is_there_is_never_written_over(wallet):
    before = wallet.read_bytes()
    with pytest.raises(WalletError, match="there is a file already; nothing was written"):
        create_wallet(wallet, PASSWORD, LIGHT)
    assert wallet.read_bytes() == before


def test_an_empty_password_a_missing_directory_and_a_missing_wallet_are_named(tmp_path):
    with pytest.raises(WalletError, match="the password is empty"):
        create_wallet(tmp_path / "wallet.json", "", LIGHT)
    with pytest.raises(WalletError, match="no such directory: make it first"):
        create_wallet(tmp_path / "none" / "wallet.json", PASSWORD, LIGHT)
    with pytest.raises(WalletError, match="no such wallet: make one with openflock wallet new"):
        open_wallet(tmp_path / "wallet.json", PASSWORD)
    assert not list(tmp_path.iterdir())


def test_a_wallet_that_could_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="power of 2"):
        create_wallet(tmp_path / "wallet.json", PASSWORD, 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"version": 3, "address": 5, "crypto": []}',
        b'{"version": 3, "address": "00", "crypto": {"kdf": "scrypt", "kdfparams": {"n": 2, "r": 1, "p": 1}}}',
    ],
)
def test_what_is_no_keystore_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "wallet.json").write_bytes(content)
    for read in (read_address, lambda path: open_wallet(path, PASSWORD)):
        with pytest.raises(WalletError, match="not a keystore") as caught:
            read(tmp_path / "wallet.json")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"kdfparams": {"n": 2**40, "r": 8, "p": 1, "dklen": 32, "salt": "00"}},
        {"kdfparams": {"n": 2**4, "r": 8, "p": 2**30, "dklen": 32, "salt": "00"}},
        {"kdfparams": {"n": -1, "r": 8, "p": 1, "dklen": 32, "salt": "00"}},
        {"kdf": "pbkdf2", "kdfparams": {"c": 2**60, "dklen": 32, "prf": "hmac-sha256", "salt": "00"}},
        {"kdf": "md5"},
        {"ciphertext": 7},
        {"mac": None},
    ],
)
def test_a_keystore_that_asks_for_too_much_or_makes_no_sense_is_not_obeyed(wallet, change):
    keystore = json.loads(wallet.read_text())
    keystore["crypto"] |= change
    wallet.write_text(json.dumps(keystore))
    with pytest.raises(WalletError, match="not a keystore"):
        open_wallet(wallet, PASSWORD)


def test_a_keystore_that_names_another_address_is_refused(wallet, tmp_path):
    keystore = json.loads(wallet.read_text())
    keystore["address"] = create_wallet(tmp_path / "other", PASSWORD, LIGHT).removeprefix("0x")
    wallet.write_text(json.dumps(keystore))
    with pytest.raises(WalletError, match="another address than it says"):
        open_wallet(wallet, PASSWORD)
