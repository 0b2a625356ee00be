import threading
import time
from contextlib import suppress

import pytest
import requests

from openflock.edge.deadline import EndingAdapter, end_within, open_pool

from .dripping import BODY, HEADERS, HELLO, Dripping

SOON = 0.3  # seconds; the drip comes sooner, so that no read ever waits too long
PATIENT = 30  # seconds that a read may wait: what ends before was ended


@pytest.mark.parametrize("before", [HEADERS, BODY])
def test_who_drips_is_left_in_time(before):
    with Dripping(before) as server, pytest.raises(TimeoutError), end_within(SOON):
        open_pool(timeout=PATIENT, retries=False).request("GET", server.url)
    assert not server.was_patient


@pytest.mark.parametrize("before", [HEADERS, BODY])
def test_a_session_of_requests_is_left_in_time(before):
    with Dripping(before) as server, requests.Session() as session:
        session.mount("http://", EndingAdapter())
        with pytest.raises(TimeoutError), end_within(SOON):
            session.get(server.url, timeout=PATIENT)
    assert not server.was_patient


def test_who_drips_before_it_has_shown_who_it_is_is_left_in_time():
    with Dripping(HELLO) as server, pytest.raises(TimeoutError), end_within(SOON):
        open_pool(timeout=PATIENT, retries=False).request("GET", server.url.replace("http", "https", 1))
    assert not server.was_patient


def test_a_connection_that_is_used_again_is_left_in_time():
    with Dripping(BODY, good=1) as server:
        pool = open_pool(timeout=PATIENT, retries=False)
        with end_within(PATIENT):
            assert pool.request("GET", server.url).data == b"x"
        with pytest.raises(TimeoutError), end_within(SOON):
            pool.request("GET", server.url)
        assert server.connections == 1
    assert not server.was_patient


def test_what_ends_in_time_is_left_alone():
    with Dripping(BODY, good=3) as server:
        pool = open_pool(timeout=PATIENT, retries=False)
        for _ in range(3):
            with end_within(PATIENT):
                assert pool.request("GET", server.url).data == b"x"
        assert server.connections == 1


def test_what_is_connected_to_when_time_is_over_is_left_at_once():
    def be_late(url):
        with end_within(0):
            time.sleep(SOON)
            open_pool(timeout=PATIENT, retries=False).request("GET", url)

    with Dripping(BODY) as server, pytest.raises(TimeoutError):
        be_late(server.url)
    assert not server.was_patient


def test_what_ends_the_work_itself_is_not_taken_for_a_deadline():
    def stop():
        with end_within(0):
            time.sleep(SOON)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()


def test_another_thread_s_exchange_is_not_ended():
    with Dripping(BODY, good=2) as server:
        pool, came, found = open_pool(timeout=PATIENT, retries=False), threading.Event(), []

        def ask():
            response = pool.request("GET", server.url, preload_content=False)
            came.wait(PATIENT)
            found.append(response.read())

        other = threading.Thread(target=ask)
        other.start()
        with suppress(TimeoutError), end_within(0):
            time.sleep(SOON)
            pool.request("GET", server.url)
        came.set()
        other.join()
        assert found == [b"x"]
