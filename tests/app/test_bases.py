from pathlib import Path

import pytest

from openflock.app.bases import locate_base, write_base
from openflock.app.settings import BUILT_IN, SettingsError


def test_a_base_is_named_for_others_by_its_whole_path_or_by_its_id(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert write_base("mine") == str(tmp_path / "mine")
    assert write_base("owner/name") == "owner/name"  # not fetched, since who writes a name need not have its files
    for odd in ("nowhere", 'x"); print(1) #', "owner/name\n", "/home/somebody/model"):
        with pytest.raises(SettingsError, match="neither a directory here nor a hub id"):
            write_base(odd)
    assert Path(write_base(BUILT_IN)) == locate_base(BUILT_IN).resolve()
