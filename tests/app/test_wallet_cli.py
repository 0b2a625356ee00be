import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from openflock.app.wallet_cli import PASSWORD, read_password
from openflock.edge.wallet import WalletError, create_wallet, open_wallet

WORD = "a long pass phrase"


@pytest.fixture(autouse=True)
def no_password_around(monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)


@pytest.fixture
def password_file(tmp_path):
    (tmp_path / "password").write_text(WORD + "\n")
    return tmp_path / "password"


def test_a_new_wallet_prints_its_address_and_no_more_on_stdout(call, tmp_path, password_file):
    code, out, err = call("wallet", "new", tmp_path / "w", "--password-file", password_file)
    assert code == 0
    assert out.strip() == open_wallet(tmp_path / "w", WORD).address.lower()
    assert "keep" in err
    assert open_wallet(tmp_path / "w", WORD).key.hex() not in out + err


def test_show_needs_no_password(call, tmp_path):
    address = create_wallet(tmp_path / "w", WORD, 2)
    assert call("wallet", "show", tmp_path / "w")[:2] == (0, address + "\n")
    assert json.loads(call("wallet", "show", tmp_path / "w", "--json")[1]) == {"address": address}


def test_a_wallet_that_is_there_is_refused_before_anybody_is_asked(refuse, tmp_path):
    create_wallet(tmp_path / "w", WORD, 2)
    assert "there is a file already" in refuse("wallet", "new", tmp_path / "w")


def test_without_a_terminal_a_missing_password_is_named(refuse, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
    line = refuse("wallet", "new", tmp_path / "w")
    assert f"give --password-file FILE or set {PASSWORD}" in line
    sys.stdin.close()


def test_a_missing_password_file_and_one_that_is_no_text_are_named(refuse, tmp_path):
    line = refuse("wallet", "new", tmp_path / "w", "--password-file", tmp_path / "none")
    assert f"no such file or directory: {tmp_path / 'none'}" in line
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert "it is not text" in refuse("wallet", "new", tmp_path / "w", "--password-file", tmp_path / "bytes")


def test_a_balance_of_a_task_needs_its_chain(refuse, tmp_path):
    create_wallet(tmp_path / "w", WORD, 2)
    assert "give --rpc too" in refuse("wallet", "show", tmp_path / "w", "--task", "0x" + "11" * 20)


def test_the_file_comes_before_the_environment(monkeypatch, password_file):
    monkeypatch.setenv(PASSWORD, "another")
    assert read_password(None) == "another"
    assert read_password(password_file) == WORD


def test_only_the_line_s_end_is_taken_off_a_password(tmp_path):
    (tmp_path / "password").write_text("  spaces  \r\n")
    assert read_password(tmp_path / "password") == "  spaces  "


@pytest.mark.parametrize("second", [WORD, "other"])
def test_at_a_terminal_a_new_password_is_asked_for_twice_and_never_shown(tmp_path, second):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "openflock", "wallet", "new", str(tmp_path / "w")]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        shown = type_in(ours, [WORD, second])
        if second == WORD:
            assert process.wait(60) == 0
            assert open_wallet(tmp_path / "w", WORD).address.lower() in shown
        else:
            assert "do not match" in shown
    finally:
        process.kill()
        os.close(ours)
        process.wait(60)
    assert WORD not in shown
    assert (tmp_path / "w").exists() == (second == WORD)


def type_in(terminal, answers):
    """Answer one prompt after the other; return all that was shown, up to the next prompt or the end."""
    shown, asked, deadline = "", 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 1000).decode()
        except OSError:  # what Linux says when the other side is closed
            break
        shown += part
        if shown[asked:].endswith(": "):  # the space comes when nothing typed is shown any more
            asked = len(shown)
            if not answers:
                break
            os.write(terminal, answers.pop(0).encode() + b"\n")
    return shown


def test_a_password_of_no_terminal_is_a_wallet_s_error(monkeypatch):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
    with pytest.raises(WalletError, match="no password"):
        read_password(None)
    sys.stdin.close()
