"""The job: the blob that tells people and programs what a task fine-tunes; the rules hold its digest."""

import json
from dataclasses import dataclass, field

from openflock.protocol.encoding import from_json, parse_json, to_json
from openflock.protocol.ports import Blob
from openflock.protocol.recipe import YOUNGER, Recipe, describe_recipe
from openflock.protocol.types import ZERO_DIGEST, Digest

MAX_JOB_SIZE = 1_000_000


class BadJob(ValueError):
    """A job blob that does not say what a job must."""


@dataclass(frozen=True)
class Job:
    """What is trained, in names; `Rules` binds the numbers and the digests."""

    title: str
    base: str  # path or hub id; the rules name its content
    targets: tuple[str, ...]  # module names that get an adapter; ("all-linear",) for every linear layer
    rank: int
    alpha: int
    seed: bytes  # expands to the initial A
    domains: tuple[str, ...]
    max_length: int  # tokens of a row, for training and evaluation
    recipe: Recipe = field(default_factory=Recipe)
    sealed: tuple[Digest, ...] = ()  # of the rows that the creator opens, one blob a round from the first


def encode_job(job: Job) -> bytes:
    """Encode a job canonically."""
    written = to_json(job) | {"recipe": describe_recipe(job.recipe)}
    return json.dumps(written, sort_keys=True, separators=(",", ":")).encode()


def decode_job(data: Blob) -> Job:
    """Decode a job; raise BadJob if the bytes are none."""
    try:
        written = parse_json(bytes(data))
        recipe = {name: getattr(Recipe(), name) for name in YOUNGER} | written.get("recipe", {})
        job: Job = from_json(Job, written | {"recipe": recipe})
    except (ValueError, TypeError, AttributeError) as error:
        raise BadJob(f"not a job: {error}") from error
    if job.rank < 1 or job.alpha < 1 or job.max_length < 2:
        raise BadJob("not a job: rank and alpha must be 1 or more, max_length 2 or more")
    if any(len(digest) != len(ZERO_DIGEST) for digest in job.sealed):
        raise BadJob("not a job: a digest of sealed rows must be 32 bytes")
    return job
