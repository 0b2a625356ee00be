import subprocess
import sys

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.edge.remotes import FsspecRemote, HttpRemote, S3Remote
from openflock.edge.stores import StoreError, open_store
from openflock.edge.torrent_store import TorrentStore
from openflock.edge.url_store import UrlStore


def test_a_path_is_a_directory_that_needs_no_cache(tmp_path):
    for name in (f"{tmp_path}/blobs", f"file://{tmp_path}/blobs", f"file://localhost{tmp_path}/blobs"):
        store = open_store(name, tmp_path / "cache")
        assert isinstance(store, DirectoryStore)
        assert store.directory == tmp_path / "blobs"
    assert not (tmp_path / "cache").exists()


def test_a_relative_path_is_a_directory_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("blobs/of:all", tmp_path).put(b"x")
    assert (tmp_path / "blobs" / "of:all").is_dir()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/blobs", HttpRemote), ("https://store.example/blobs/", HttpRemote),
        ("s3://bucket/prefix", S3Remote), ("memory://blobs", FsspecRemote),
    ],
)  # fmt: skip
def test_each_scheme_has_its_remote_and_a_cache(tmp_path, url, kind):
    store = open_store(url, tmp_path / "cache")
    assert isinstance(store, UrlStore)
    assert (type(store.remote), store.remote.url) == (kind, url.rstrip("/"))
    assert store.cache.directory == tmp_path / "cache"


def test_a_swarm_is_named_by_its_trackers(tmp_path):
    store = open_store("torrent://127.0.0.1:7070,localhost:7071", tmp_path / "cache")
    assert isinstance(store, TorrentStore)
    assert store.trackers.addresses == ["127.0.0.1:7070", "localhost:7071"]
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hidden@bucket/x", "http://user:hidden@host/x", "https://hidden@host", "torrent://user:hidden@host:1",
        "https://host/x?token=hidden", "s3://b/x#hidden", "http://user:hidden@[::1/x",
    ],
)  # fmt: skip
def test_no_address_holds_a_secret_and_no_message_repeats_it(tmp_path, url):
    with pytest.raises(StoreError, match=r"must not hold|has no '\?' and no '#'|not a store's address") as caught:
        open_store(url, tmp_path)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("nosuch://place/x", "no such kind of store"), ("s3:bucket", "names no host or bucket"),
        ("http:///x", "names no host or bucket"), ("file://elsewhere/x", "a file of another machine"),
        ("torrent://host", "is no tracker"), ("http://[::1/x", "not a store's address"),
        ("torrent://tracker.example:1", "others cannot reach 127.0.0.1:0; set OPENFLOCK_LISTEN"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused_in_one_line(tmp_path, url, fault):
    with pytest.raises(StoreError, match=fault) as caught:
        open_store(url, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENFLOCK_LISTEN", "203.0.113.1:6881")  # no address of this machine
    with pytest.raises(StoreError, match=r"cannot listen for peers at 203.0.113.1:6881"):
        open_store("torrent://127.0.0.1:7070", tmp_path)


MISSING = """
import sys
sys.modules[sys.argv[1]] = None
from pathlib import Path
from openflock.edge.stores import StoreError, open_store
try:
    open_store(sys.argv[2], Path(sys.argv[3]))
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("library", "url", "extra"),
    [
        ("s3fs", "s3://bucket", "/path/to/checkout[s3]"),
        ("libtorrent", "torrent://127.0.0.1:1", "/path/to/checkout[torrent]"),
    ],
)
def test_a_missing_library_is_named_with_what_installs_it(tmp_path, library, url, extra):
    command = [sys.executable, "-c", MISSING, library, url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert extra in done.stdout
    assert done.stdout.count("\n") == 1


def test_no_heavy_library_is_imported_before_a_store_needs_it():
    check = "import sys, openflock.edge.stores; print({'fsspec', 's3fs', 'libtorrent', 'urllib3'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
