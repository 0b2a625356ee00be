import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import DataError, Row, list_domains, load_domain, load_rows, parse_row

texts = st.text(min_size=1).filter(str.strip)


@pytest.fixture
def write(tmp_path):
    def write_lines(*records, name="rows.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write_lines


@given(texts, texts)
def test_the_three_forms_mean_the_same(prompt, completion):
    wanted = Row((("user", prompt),), completion)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    assert parse_row({"prompt": prompt, "completion": completion}, "x:1") == wanted
    assert parse_row({"messages": messages}, "x:1") == wanted
    assert parse_row({"instruction": prompt, "context": None, "response": completion}, "x:1") == wanted
    assert wanted.prompt == prompt


def test_context_follows_the_instruction():
    row = parse_row({"instruction": "Sum up.", "context": "Long ago.", "response": "Old."}, "x:1")
    assert row.prompt == "Sum up.\n\nLong ago."


def test_the_last_assistant_message_is_the_completion():
    turns = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert parse_row({"messages": messages}, "x:1") == Row(tuple(turns[:4]), "d")
    messages.append({"role": "user", "content": "thanks"})
    assert parse_row({"messages": messages}, "x:1") == Row(tuple(turns[:4]), "d")


def test_blank_lines_and_marks_inside_a_string_break_no_line(write):
    path = write({"prompt": "a", "completion": "b"}, "", '{"prompt": "c\u2028d", "completion": "e"}')
    assert [row.prompt for row in load_rows(path)] == ["a", "c\u2028d"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a", "completion"', r"not JSON .*write one object on each line"),
        ("[1, 2]", "not an object; write one of"),
        ('{"prompt": "a"}', "missing 'completion'; write one of"),
        ('{"completion": "a"}', "missing 'prompt'"),
        ('{"instruction": "a"}', "missing 'response'"),
        ('{"question": "a", "answer": "b"}', "found answer, question; write one of"),
        ('{"prompt": "a", "completion": " "}', "the completion is empty; give the answer"),
        ('{"prompt": "a", "completion": 3}', "'completion' is int, not text"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "no assistant message"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "no assistant message"),
        ('{"messages": ["a"]}', '"messages" is not a list of objects'),
    ],
)
def test_a_bad_line_is_named_with_its_file_its_number_and_the_mend(write, line, reason):
    path = write({"prompt": "a", "completion": "b"}, "", line)
    with pytest.raises(DataError, match=f"rows.jsonl:3: {reason}") as caught:
        load_rows(path)
    assert "\n" not in str(caught.value)


def test_an_empty_or_missing_or_binary_file_is_an_error(write, tmp_path):
    with pytest.raises(DataError, match=r"empty.jsonl: no rows; write at least one"):
        load_rows(write("", name="empty.jsonl"))
    with pytest.raises(DataError, match=r"gone.jsonl: No such file or directory; give"):
        load_rows(tmp_path / "gone.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(DataError, match=r"binary.jsonl: byte 12 is not UTF-8"):
        load_rows(tmp_path / "binary.jsonl")


def test_whatever_datasets_reads_is_read(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(str(tmp_path / "rows.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/train.json").write_text(json.dumps(rows))
    wanted = [parse_row(row, "x:1") for row in rows]
    for source in ("rows.parquet", "saved", "folder", "folder/train.json"):
        assert load_rows(tmp_path / source) == wanted
    with pytest.raises(DataError, match=r"folder: .*; give a JSONL file"):
        load_rows(tmp_path / "folder", split="test")


def test_a_missing_data_set_is_an_error(tmp_path):
    (tmp_path / "broken.json").write_text('[{"prompt": 1')
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for source in ("broken.json", "broken.parquet"):
        with pytest.raises(DataError, match=f"{source}: .*; give a JSONL file"):
            load_rows(tmp_path / source)
    with pytest.raises(DataError, match=r"gone.parquet: no such file"):
        load_rows(tmp_path / "gone.parquet")


def test_domains_are_the_folders_with_training_rows(write, tmp_path):
    write({"prompt": "a", "completion": "b"}, name="math/train.jsonl")
    write({"prompt": "c", "completion": "d"}, name="math/test.jsonl")
    write({"prompt": "e", "completion": "f"}, name="code/train.jsonl")
    (tmp_path / "notes").mkdir()
    assert list_domains(tmp_path) == ["code", "math"]
    assert load_domain(tmp_path, "math", "test")[0].prompt == "c"
    with pytest.raises(DataError, match="no domain 'law'; it has code, math"):
        load_domain(tmp_path, "law")
    with pytest.raises(DataError, match="no split 'dev'"):
        load_domain(tmp_path, "math", "dev")
    with pytest.raises(DataError, match=r"code/test.jsonl: No such file"):
        load_domain(tmp_path, "code", "test")
    with pytest.raises(DataError, match="no such directory"):
        list_domains(tmp_path / "gone")
