import io
import json

import pytest

from openflock.app.node.logs import HIDDEN, close_log, list_secrets, open_log

URL = "https://someone:word@rpc.example.org/v3/0123456789abcdef"


@pytest.fixture
def streams(tmp_path):
    terminal = io.StringIO()
    yield tmp_path / "node.log", terminal
    close_log()


def open_both(streams, urls=()):
    return open_log(streams[0], list_secrets(urls), streams[1])


def read_lines(streams):
    return [json.loads(line) for line in streams[0].read_text().splitlines()]


def test_an_event_is_a_line_of_json_in_the_file_and_of_words_on_the_terminal(streams):
    log = open_both(streams)
    log.info("settled", round=3, digest=bytes(31) + b"\x07", seats=(1, 2))
    (line,) = read_lines(streams)
    assert line | {"timestamp": ""} == {
        "event": "settled", "level": "info", "timestamp": "", "round": 3, "digest": "00" * 31 + "07", "seats": [1, 2],
    }  # fmt: skip
    (shown,) = streams[1].getvalue().splitlines()
    assert "settled" in shown
    assert "round=3" in shown


def connect():
    raise ConnectionError(f"Max retries exceeded with url: /v3/0123456789abcdef, at {URL}")


def test_no_part_of_a_url_beyond_its_host_is_shown_not_in_a_traceback_either(streams):
    log = open_both(streams, [URL])
    try:
        connect()
    except ConnectionError:
        log.exception("failed", hint=[{"tried": URL}])
    for shown in (streams[0].read_text(), streams[1].getvalue()):
        assert "ConnectionError" in shown
        assert "rpc.example.org" in shown
        assert HIDDEN in shown
        assert not any(secret in shown for secret in ("0123456789abcdef", "someone", "word"))


def test_a_url_without_secrets_hides_nothing():
    assert list_secrets(["http://127.0.0.1:8545", "http://127.0.0.1:8545/", "https://rpc.example.org"]) == []


def test_the_file_is_for_its_owner_alone_and_is_appended_to(streams):
    open_both(streams).info("first")
    open_both(streams).info("second")
    assert streams[0].stat().st_mode & 0o077 == 0
    assert [line["event"] for line in read_lines(streams)] == ["first", "second"]
    assert len(streams[1].getvalue().splitlines()) == 2
