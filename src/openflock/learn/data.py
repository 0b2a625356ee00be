"""Read rows of a prompt and a completion, in the forms people already have."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

Messages = tuple[tuple[str, str], ...]

FORMS = '{"prompt", "completion"}, {"messages"} or {"instruction", "context", "response"}'
_DOMAIN_SPLITS = ("train", "validation", "test", "sealed")


class DataError(ValueError):
    """Say in one line what is wrong with a user's data, where, and how to mend it."""


@dataclass(frozen=True)
class Row:
    """Hold one example: the conversation so far as (role, content) pairs, and the answer to learn."""

    messages: Messages
    completion: str

    @property
    def prompt(self) -> str:
        """Give the last message of the user's side."""
        return self.messages[-1][1]


def parse_row(record: object, where: str) -> Row:
    """Parse one record in any of the three forms; DataError starts with `where`."""
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: not an object; write one of {FORMS}")
    if record.get("messages") is not None:
        row = _parse_messages(record["messages"], where)
    elif "prompt" in record or "completion" in record:
        row = Row((("user", _get_text(record, "prompt", where)),), _get_text(record, "completion", where))
    elif "instruction" in record or "response" in record:
        row = Row((("user", _join_instruction(record, where)),), _get_text(record, "response", where))
    else:
        found = ", ".join(sorted(map(str, record))) or "nothing"
        raise DataError(f"{where}: found {found}; write one of {FORMS}")
    if not row.completion.strip():
        raise DataError(f"{where}: the completion is empty; give the answer to learn or drop the row")
    return row


def load_rows(source: str | Path, split: str | None = None) -> list[Row]:
    """Load rows from a JSONL file, or from whatever path or hub id `datasets` reads.

    Without `split`, a data set gives its `train`; a JSONL file is one split by itself. Raises DataError, one
    line with the file and the line, when the source is missing, empty or holds a row in no known form.
    """
    path = Path(source)
    rows = _read_jsonl(path) if path.suffix == ".jsonl" else _read_dataset(str(source), split or "train")
    if not rows:
        raise DataError(f"{source}: no rows; write at least one of {FORMS}")
    return rows


def list_domains(data_dir: Path) -> list[str]:
    """List the domains of a data directory: its folders that hold a train.jsonl, sorted."""
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such directory; make DOMAIN/train.jsonl below it")
    return sorted(folder.name for folder in data_dir.iterdir() if (folder / "train.jsonl").is_file())


def load_domain(data_dir: Path, domain: str, split: str = "train") -> list[Row]:
    """Load one split (train, validation, test, sealed) of one domain from DATA/<domain>/<split>.jsonl."""
    if split not in _DOMAIN_SPLITS:
        raise DataError(f"{data_dir}: no split {split!r}; choose one of {', '.join(_DOMAIN_SPLITS)}")
    if domain not in (domains := list_domains(data_dir)):
        raise DataError(f"{data_dir}: no domain {domain!r}; it has {', '.join(domains) or 'none'}")
    return load_rows(data_dir / domain / f"{split}.jsonl")


def _get_text(record: Mapping[Any, Any], key: str, where: str) -> str:
    if key not in record:
        raise DataError(f"{where}: missing {key!r}; write one of {FORMS}")
    if not isinstance(record[key], str):
        raise DataError(f"{where}: {key!r} is {type(record[key]).__name__}, not text; put it in quotes")
    text: str = record[key]
    return text


def _join_instruction(record: Mapping[Any, Any], where: str) -> str:
    instruction = _get_text(record, "instruction", where)
    context = record.get("context")  # many rows have none, or null
    if context is None or context == "":
        return instruction
    return f"{instruction}\n\n{_get_text(record, 'context', where)}"


def _parse_messages(messages: object, where: str) -> Row:
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise DataError(f'{where}: "messages" is not a list of objects with "role" and "content"')
    turns = [(_get_text(turn, "role", where), _get_text(turn, "content", where)) for turn in messages]
    answers = [index for index, (role, _) in enumerate(turns) if role == "assistant"]
    if not answers or answers[-1] == 0:
        raise DataError(f"{where}: no assistant message after a user's; the last one is the completion")
    return Row(tuple(turns[: answers[-1]]), turns[answers[-1]][1])


def _read_jsonl(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a JSONL file that can be read") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    # Not splitlines(): JSON strings may hold U+2028 and other marks that it takes for an end of line.
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), start=1)
    return [_parse_line(line, f"{path}:{number}") for number, line in lines if line.strip()]


def _parse_line(line: str, where: str) -> Row:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deep")
        raise DataError(f"{where}: not JSON ({reason}); write one object on each line") from error
    return parse_row(record, where)


def _read_dataset(source: str, split: str) -> list[Row]:
    if Path(source).suffix and not Path(source).exists() and source.count("/") != 1:
        raise DataError(f"{source}: no such file; give a JSONL file, a directory or a hub id")
    try:
        table: Iterable[object] = _load_table(source, split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: {reason}; give a JSONL file, a data set directory or a hub id") from error
    return [parse_row(record, f"{source}[{split}]:{number}") for number, record in enumerate(table, start=1)]


def _load_table(source: str, split: str) -> "datasets.Dataset":
    import datasets  # most rows come from JSONL, and this loads pandas

    try:
        return _open_table(datasets, source, split)
    except datasets.exceptions.DatasetsError as error:
        raise ValueError(str(error)) from error


def _open_table(datasets: Any, source: str, split: str) -> "datasets.Dataset":
    path = Path(source)
    if path.is_file():
        builder = "parquet" if path.suffix == ".parquet" else path.suffix.removeprefix(".")
        return datasets.load_dataset(builder, data_files={split: source}, split=split)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(source)
        if isinstance(saved, datasets.DatasetDict) and split not in saved:
            raise ValueError(f"no split {split!r}; there is {', '.join(saved)}")
        return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
    return datasets.load_dataset(source, split=split)
