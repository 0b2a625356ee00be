from pathlib import Path

from openflock.app.bases import locate_base, write_base
from openflock.app.settings import BUILT_IN


def test_a_base_is_named_for_others_by_its_whole_path_or_by_its_id(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert write_base("mine") == str(tmp_path / "mine")
    assert write_base("owner/name") == "owner/name"  # not fetched, since who writes a name need not have its files
    assert Path(write_base(BUILT_IN)) == locate_base(BUILT_IN).resolve()
