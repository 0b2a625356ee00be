import pytest

from openflock.app.rundir import RunDirectory
from openflock.app.settings import Config, SettingsError
from openflock.edge.journal import Journal, JournalLocked

CONFIG, CHANGED = Config(title="one"), Config(title="other", seed=3)


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def begin(run):
    run.open(CONFIG)
    run.events.write_text("")
    return run


def test_a_new_run_is_unfinished_and_found_again(run):
    assert run.open(CONFIG) == {"config": CONFIG.model_dump(), "finished": False}
    assert run.open(CONFIG) == run.read()


def test_an_empty_directory_can_be_used(run):
    run.path.mkdir(parents=True)
    assert run.open(CONFIG)["finished"] is False


def test_another_configuration_is_refused_by_its_keys(run):
    begin(run)
    with pytest.raises(SettingsError, match=r"another configuration \(title, seed\); choose another --out"):
        run.open(CHANGED)
    assert run.open(CONFIG)


def test_a_run_older_than_a_key_is_taken_to_have_its_default(run):
    begin(run)
    older = {key: value for key, value in CONFIG.model_dump().items() if key != "probe"}
    run.write(run.read() | {"config": older})
    assert run.open(CONFIG)["config"] == older
    with pytest.raises(SettingsError, match=r"another configuration \(probe\)"):
        run.open(CONFIG.model_copy(update={"probe": True}))


def test_a_run_that_never_began_can_be_mended(run):
    run.open(CONFIG)
    assert run.open(CHANGED)["config"]["title"] == "other"


def test_a_finished_run_is_never_begun_anew(run):
    run.open(CONFIG)
    run.write(run.read() | {"finished": True})
    with pytest.raises(SettingsError, match="another configuration"):
        run.open(CHANGED)


def test_a_directory_of_other_files_is_refused_and_left(run):
    run.path.mkdir(parents=True)
    (run.path / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError, match="holds other files; choose another --out"):
        run.open(CONFIG)
    assert [file.name for file in run.path.iterdir()] == ["thesis.tex"]


def test_what_a_crash_left_of_the_first_write_is_no_obstacle(run):
    run.path.mkdir(parents=True)
    (run.path / ".writing-x1").write_text("{")
    assert run.open(CONFIG)["finished"] is False


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 5000, "\xff"])
def test_a_broken_run_json_is_named(run, content):
    run.path.mkdir(parents=True)
    (run.path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"run\.json: not"):
        run.read()


def test_clear_removes_the_run_and_nothing_beside_it(run):
    begin(run)
    for folder in (run.blobs, run.outbox, run.adapter, run.checkpoints):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x")
    for file in (run.metrics, run.journal):
        file.write_text("x")
    (run.path / "thesis.tex").write_text("years of work")
    (run.path / "figures").mkdir()
    run.clear()
    assert sorted(file.name for file in run.path.iterdir()) == ["figures", "thesis.tex"]


def test_a_cleared_run_can_begin_anew(run):
    begin(run)
    Journal(run.journal).close()
    run.clear()
    assert run.open(CHANGED)["config"]["title"] == "other"


def test_a_run_that_a_process_plays_is_not_cleared(run):
    begin(run)
    journal = Journal(run.journal)
    with pytest.raises(JournalLocked, match="in use by another process"):
        run.clear()
    assert run.events.exists()
    journal.close()


def test_clear_follows_no_link_out_of_the_run(run, tmp_path):
    begin(run)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    run.blobs.symlink_to(tmp_path / "precious")
    run.clear()
    assert (tmp_path / "precious" / "file").exists()
