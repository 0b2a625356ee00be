import json
import pickle
import shutil

import pytest
import torch

from openflock.learn.base import BaseError, compute_base_digest, load_base, resolve_base


@pytest.fixture
def copied(base_path, tmp_path):
    return shutil.copytree(base_path, tmp_path / "base")


def test_the_digest_changes_with_any_byte_of_what_decides_an_answer(copied, base_path):
    before = compute_base_digest(copied)
    assert before == compute_base_digest(base_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"):
        path = copied / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert compute_base_digest(copied) != before
        path.write_bytes(whole)
    (copied / "tokenizer_config.json").rename(copied / "added_tokens.json")
    assert compute_base_digest(copied) != before


def test_the_digest_does_not_change_with_what_decides_nothing(copied):
    before = compute_base_digest(copied)
    (copied / "README.md").write_text("another card")
    (copied / "notes.txt").write_text("mine")
    assert compute_base_digest(copied) == before


def test_the_base_loads_frozen_in_float32_on_a_cpu(base_path):
    base = load_base(base_path)
    assert {parameter.dtype for parameter in base.network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in base.network.parameters())
    assert not base.network.training
    assert base.path == base_path


def test_a_pickle_is_never_opened(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="no weights; convert"):
        load_base(copied)

    class Bomb:
        def __reduce__(self):
            return (open, (str(copied / "exploded"), "w"))

    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    for call in (load_base, compute_base_digest):
        with pytest.raises(BaseError, match=r"only pytorch_model.bin, which can run code; convert") as caught:
            call(copied)
        assert "\n" not in str(caught.value)
    assert not (copied / "exploded").exists()


def test_code_in_the_models_directory_is_never_run(copied):
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "bomb", "auto_map": {"AutoConfig": "bomb.C", "AutoModelForCausalLM": "bomb.M"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "bomb.py").write_text(f"open({str(copied / 'exploded')!r}, 'w')")
    with pytest.raises(BaseError, match="cannot load the base"):
        load_base(copied)
    assert not (copied / "exploded").exists()


@pytest.mark.parametrize("name", ["gone", "./gone/model", "/gone/model", "a/b/c"])
def test_a_missing_base_is_one_line(name):
    with pytest.raises(BaseError, match="no such model directory; give one with") as caught:
        resolve_base(name)
    assert "\n" not in str(caught.value)


def test_a_directory_without_a_model_and_broken_files_are_one_line(copied, tmp_path):
    with pytest.raises(BaseError, match=r"no config\.json"):
        load_base(tmp_path)
    (copied / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(BaseError, match="cannot load the base"):
        load_base(copied)
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(BaseError, match="cannot load the base"):
        load_base(copied)
    (copied / "config.json").write_text("{")
    with pytest.raises(BaseError, match="cannot load the base"):
        load_base(copied)
