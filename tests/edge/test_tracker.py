import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from hashlib import sha256

import pytest

from openflock.edge import tracker as module
from openflock.edge.outline import MAX_OUTLINE, Outline, compute_outline
from openflock.edge.stores import StoreError
from openflock.edge.tracker import EXPIRY, OUTLINES, OVERHEAD, PEERS, Register, start_tracker
from openflock.edge.trackers import Trackers, is_loopback, parse_addresses
from openflock.protocol.ports import Unreachable

from .dripping import BODY, HEADERS, Dripping
from .servers import answer_status, answer_without_end, serve

BLOB = b"a blob"
DIGEST = sha256(BLOB).digest()
OUTLINE = compute_outline(BLOB)
NAME = sha256(OUTLINE.encode()).hexdigest()


@pytest.fixture
def tracker():
    with start_tracker() as tracker:
        yield tracker


@pytest.fixture
def trackers(tracker):
    return Trackers(parse_addresses(tracker.url))


def ask(tracker, method, path, body=None):
    url = f"http://127.0.0.1:{tracker.server_port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


# --- Asked as it should be ---------------------------------------------------------------------------------------


def test_who_announced_is_found(trackers):
    assert trackers.look_up(DIGEST) == []
    trackers.announce(DIGEST, OUTLINE, 5001)
    trackers.announce(DIGEST, OUTLINE, 5002)
    (offer,) = trackers.look_up(DIGEST)
    assert (offer.outline, offer.peers) == (OUTLINE, {("127.0.0.1", 5001), ("127.0.0.1", 5002)})
    assert trackers.look_up(bytes(32)) == []


def test_one_tracker_of_several_is_enough_and_all_are_heard(tracker):
    gone = "127.0.0.1:1"
    with start_tracker() as second:
        addresses = [parse_addresses(each.url)[0] for each in (tracker, second)]
        Trackers([gone, *addresses[:1]]).announce(DIGEST, OUTLINE, 5001)
        Trackers([*addresses[1:], gone]).announce(DIGEST, OUTLINE, 5002)
        (offer,) = Trackers([gone, *addresses]).look_up(DIGEST)
        assert offer.peers == {("127.0.0.1", 5001), ("127.0.0.1", 5002)}


def test_without_any_tracker_nothing_can_be_asked():
    trackers = Trackers(["127.0.0.1:1"])
    with pytest.raises(Unreachable, match=r"no tracker takes blob .*127.0.0.1:1"):
        trackers.announce(DIGEST, OUTLINE, 5001)
    with pytest.raises(Unreachable, match=r"no tracker answers for blob .*127.0.0.1:1"):
        trackers.look_up(DIGEST)


@pytest.mark.parametrize("before", [HEADERS, BODY])
def test_a_tracker_that_drips_holds_up_no_other(tracker, before, monkeypatch):
    monkeypatch.setattr("openflock.edge.trackers.WHOLE", 2)
    with Dripping(before) as dripping:
        trackers = Trackers([dripping.address, *parse_addresses(tracker.url)])
        trackers.announce(DIGEST, OUTLINE, 5001)
        assert [offer.outline for offer in trackers.look_up(DIGEST)] == [OUTLINE]
        with pytest.raises(Unreachable, match="no whole answer"):
            Trackers([dripping.address]).announce(DIGEST, OUTLINE, 5001)
    assert not dripping.was_patient


def test_who_fills_a_tracker_with_lies_keeps_nobody_from_what_it_does_next(trackers):
    for size in range(OUTLINES):
        trackers.announce(DIGEST, Outline(size + 1, bytes(32)), 5001)
    trackers.announce(DIGEST, OUTLINE, 5002)
    assert OUTLINE not in [offer.outline for offer in trackers.look_up(DIGEST)]


def test_many_announce_at_once(tracker, trackers):
    threads = [threading.Thread(target=trackers.announce, args=(DIGEST, OUTLINE, 6000 + i)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (offer,) = trackers.look_up(DIGEST)
    assert len(offer.peers) == 40


# --- Asked otherwise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/", b"", 400), ("/../../etc/passwd", b"", 400), (f"/{DIGEST.hex()}", b"", 400),
        (f"/{DIGEST.hex()}/{NAME}", b"", 400), (f"/{DIGEST.hex()}/{NAME}?port=0", b"", 400),
        (f"/{DIGEST.hex()}/{NAME}?port=65536", b"", 400), (f"/{DIGEST.hex()}/{NAME}?port=x", b"", 400),
        (f"/{DIGEST.hex()}/{NAME}?port=1", b"", 404),  # an outline that is not known
        (f"/{DIGEST.hex()}/{NAME}?port=1", b"no outline", 400),
        (f"/{DIGEST.hex()}/{'0' * 64}?port=1", OUTLINE.encode(), 400),  # under another name
        (f"/{DIGEST.hex()}/{NAME}?port=1", OUTLINE.encode(), 200),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(tracker, path, body, status):
    assert ask(tracker, "POST", path, body) == status


def test_an_outline_larger_than_any_is_not_read(tracker):
    with socket.create_connection(("127.0.0.1", tracker.server_port), timeout=5) as caller:
        size = MAX_OUTLINE + 1
        caller.sendall(f"POST /{DIGEST.hex()}/{NAME}?port=1 HTTP/1.0\r\nContent-Length: {size}\r\n\r\n".encode())
        assert b" 413 " in caller.recv(100)


def test_a_question_that_makes_no_sense_is_refused(tracker):
    assert ask(tracker, "GET", "/favicon.ico") == 400
    assert ask(tracker, "DELETE", f"/{DIGEST.hex()}") == 501


def test_a_caller_who_hangs_up_does_no_harm(tracker, trackers):
    for _ in range(20):
        socket.create_connection(("127.0.0.1", tracker.server_port), timeout=5).close()
    trackers.announce(DIGEST, OUTLINE, 5001)


# --- What is remembered ------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def make_lie(number):
    outline = Outline(number + 1, bytes(32)).encode()
    return sha256(outline).hexdigest(), outline


def test_who_says_nothing_for_long_is_forgotten(clock):
    register = Register()
    for peer in ("early", "late"):
        assert register.announce("blob", NAME, OUTLINE.encode(), peer)
        clock[0] += EXPIRY - 1
    assert [swarm["peers"] for swarm in register.look_up("blob")] == [["late"]]
    clock[0] += 2
    assert register.look_up("blob") == []
    assert not register.announce("blob", NAME, b"", "late")  # the outline went with its last peer


def test_who_came_first_keeps_the_place(clock):
    register = Register()
    assert register.announce("blob", NAME, OUTLINE.encode(), "holder")
    taken = [register.announce("blob", *make_lie(number), "liar") for number in range(10)]
    assert taken == [True] * (OUTLINES - 1) + [False] * (10 - OUTLINES + 1)
    assert register.look_up("blob")[0] == {"outline": OUTLINE.encode().hex(), "peers": ["holder"]}
    assert all(register.announce("blob", NAME, b"", f"peer {number}") for number in range(PEERS - 1))
    assert not register.announce("blob", NAME, b"", "one too many")
    assert register.announce("blob", NAME, b"", "holder")


def test_memory_is_bounded_and_what_is_announced_stays(clock):
    each = len(OUTLINE.encode()) + OVERHEAD
    register = Register(memory=10 * each)
    for number in range(100):
        assert register.announce("wanted", NAME, OUTLINE.encode(), "holder")
        register.announce(f"blob {number}", NAME, OUTLINE.encode(), "flooder")
    assert register.look_up("wanted")
    assert sum(bool(register.look_up(f"blob {number}")) for number in range(100)) == 9


# --- What a tracker says is not believed -------------------------------------------------------------------------


def say(server, *offers):
    body = json.dumps(offers).encode() if offers and not isinstance(offers[0], bytes) else offers[0]

    def answer(handler):
        handler.start(200, Content_Length=len(body))
        handler.send(body)

    server.answer = answer


GOOD = {"outline": OUTLINE.encode().hex(), "peers": ["127.0.0.1:5001", "[::1]:5002"]}


def test_addresses_of_both_kinds_are_read():
    with serve() as server:
        say(server, GOOD)
        (offer,) = Trackers([server.url.removeprefix("http://")]).look_up(DIGEST)
        assert offer.peers == {("127.0.0.1", 5001), ("::1", 5002)}


@pytest.mark.parametrize(
    "said",
    [
        b"", b"no JSON", b"{}{}", b'{"a": 1}', b"17", b"[" * 5000, b"[1]", b"[{}]",
        json.dumps([GOOD | {"outline": "zz"}]).encode(), json.dumps([GOOD | {"outline": ""}]).encode(),
        json.dumps([GOOD | {"outline": "00" * 40}]).encode(), json.dumps([GOOD | {"outline": 5}]).encode(),
        json.dumps([GOOD | {"peers": ["evil.example:80"]}]).encode(), json.dumps([GOOD | {"peers": 5}]).encode(),
        json.dumps([GOOD | {"peers": [["127.0.0.1", 5]]}]).encode(),
    ],
)  # fmt: skip
def test_an_answer_without_sense_is_none(said):
    with serve() as server:
        say(server, said)
        with pytest.raises(Unreachable, match="no tracker answers for blob"):
            Trackers([server.url.removeprefix("http://")]).look_up(DIGEST)


@pytest.mark.parametrize("answer", [answer_without_end, answer_status(500)])
def test_an_answer_without_end_is_none(answer):
    with serve() as server:
        server.answer = answer
        with pytest.raises(Unreachable, match="no tracker answers for blob"):
            Trackers([server.url.removeprefix("http://")]).look_up(DIGEST)


def test_no_more_is_taken_from_a_tracker_than_it_may_say():
    lies = [
        {"outline": make_lie(i)[1].hex(), "peers": [f"127.0.0.1:{port}" for port in range(1, 999)]} for i in range(9)
    ]
    with serve() as server:
        say(server, *lies)
        offers = Trackers([server.url.removeprefix("http://")]).look_up(DIGEST)
    assert (len(offers), max(len(offer.peers) for offer in offers)) == (OUTLINES, PEERS)


# --- Addresses ---------------------------------------------------------------------------------------------------


def test_a_store_may_name_several_trackers():
    assert parse_addresses("torrent://one.example:1,[::1]:2/") == ["one.example:1", "[::1]:2"]


@pytest.mark.parametrize("named", ["", "host", "host:0", "host:99999", "a:1,", "a:1,b", "a:1/path", "a:x"])
def test_what_names_no_tracker_is_refused(named):
    with pytest.raises(StoreError, match=r"is no tracker; write torrent://host:port"):
        parse_addresses(f"torrent://{named}")


def test_only_what_is_surely_this_machine_is_loopback():
    assert all(is_loopback(f"{host}:1") for host in ("127.0.0.9", "localhost", "[::1]"))
    assert not any(is_loopback(f"{host}:1") for host in ("10.0.0.1", "0.0.0.0", "localhost.example"))


def test_a_tracker_of_its_own_says_where_it_is_and_ends_when_told():
    command = [sys.executable, "-W", "error", "-m", "openflock.edge.tracker", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            trackers = Trackers(parse_addresses(process.stdout.readline().strip()))
            trackers.announce(DIGEST, OUTLINE, 5001)
            assert trackers.look_up(DIGEST)
        finally:
            process.send_signal(signal.SIGTERM)
        assert (process.wait(10), process.stdout.read()) == (0, "")
