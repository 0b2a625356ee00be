"""Write the project's own data: small text skills with exact answers, from a seed."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# One payload belongs to one split, whatever the wording around it: buckets of its hash, in tenths.
SPLITS = {"base": range(4), "train": range(4, 8), "validation": range(8, 9), "test": range(9, 10)}

_CONSONANTS = "bcdfghjklmnpqrstvwxyz"
_VOWELS = "aeiou"
_TRIES_PER_ROW = 400


@dataclass(frozen=True)
class Skill:
    """Say how to make one payload, how to ask about it and what the one right answer is."""

    name: str
    wordings: tuple[str, ...]
    draw: Callable[[random.Random], tuple[str, ...]]
    answer: Callable[..., str]


def _draw_word(rng: random.Random, shortest: int = 4, longest: int = 6) -> tuple[str]:
    length = rng.randint(shortest, longest)
    start = rng.randrange(2)
    return ("".join(rng.choice(_VOWELS if (start + i) % 3 == 1 else _CONSONANTS) for i in range(length)),)


def _draw_sum(rng: random.Random) -> tuple[str, str]:
    return str(rng.randint(1, 99)), str(rng.randint(1, 99))


def _draw_count(rng: random.Random) -> tuple[str, str]:
    letter, other, third = rng.sample(_CONSONANTS + _VOWELS, 3)
    word = "".join(rng.choice(letter + letter + other + third) for _ in range(rng.randint(3, 7)))
    return letter, word


def _shift(word: str) -> str:
    return "".join(chr((ord(letter) - ord("a") + 1) % 26 + ord("a")) for letter in word)


SKILLS = {
    skill.name: skill
    for skill in (
        Skill(
            "reverse",
            ("Reverse: {}", "Write {} backwards", "Spell the word {} from the end", "Turn {} around"),
            _draw_word,
            lambda word: word[::-1],
        ),
        Skill(
            "sort",
            ("Sort: {}", "Sort the letters of {}", "Put {} in alphabetical order", "Order the letters {}"),
            _draw_word,
            lambda word: "".join(sorted(word)),
        ),
        Skill(
            "upper",
            ("Capitals: {}", "Write {} in capitals", "Make {} upper case", "Shout the word {}"),
            _draw_word,
            str.upper,
        ),
        Skill(
            "shift",
            ("Shift: {}", "Move each letter of {} on by one", "Next letters after {}", "Encode {} with key 1"),
            _draw_word,
            _shift,
        ),
        Skill(
            "vowels",
            ("Vowels: {}", "Keep the vowels of {}", "Which vowels are in {}?", "Drop the consonants of {}"),
            _draw_word,
            lambda word: "".join(letter for letter in word if letter in _VOWELS),
        ),
        Skill(
            "double",
            ("Double: {}", "Write each letter of {} twice", "Stutter the word {}", "Repeat every letter in {}"),
            _draw_word,
            lambda word: "".join(letter * 2 for letter in word),
        ),
        Skill(
            "count",
            ("Count {}: {}", "How many {} are in {}?", "How often is {} in {}?", "Number of {} in {}"),
            _draw_count,
            lambda letter, word: str(word.count(letter)),
        ),
        Skill(
            "add",
            ("Add: {} and {}", "What is {} plus {}?", "{} + {} = ?", "Sum of {} and {}"),
            _draw_sum,
            lambda left, right: str(int(left) + int(right)),
        ),
    )
}


def _belongs(skill: Skill, payload: tuple[str, ...], split: str) -> bool:
    digest = hashlib.sha256("\0".join((skill.name, *payload)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10 in SPLITS[split]


def _iterate_payloads(skill: Skill, rng: random.Random, split: str, tries: int) -> Iterator[tuple[str, ...]]:
    seen: set[tuple[str, ...]] = set()
    for _ in range(tries):
        payload = skill.draw(rng)
        if payload not in seen and _belongs(skill, payload, split):
            seen.add(payload)
            yield payload


def generate_rows(skill: str, count: int, seed: int, split: str = "train") -> list[dict[str, str]]:
    """Generate `count` rows of one skill, no payload twice.

    The splits are disjoint for every seed, because the hash of the payload alone decides its split;
    `base` is what the bundled base model was trained on. Raises ValueError for an unknown skill or
    split, or when the skill has fewer payloads than asked for.
    """
    if skill not in SKILLS:
        raise ValueError(f"skills: no skill {skill!r}; choose one of {', '.join(SKILLS)}")
    if split not in SPLITS:
        raise ValueError(f"skills: no split {split!r}; choose one of {', '.join(SPLITS)}")
    chosen = SKILLS[skill]
    rng = random.Random(f"{skill}/{split}/{seed}")
    rows: list[dict[str, str]] = []
    for payload in _iterate_payloads(chosen, rng, split, tries=count * _TRIES_PER_ROW):
        if len(rows) == count:
            break
        prompt = rng.choice(chosen.wordings).format(*payload)
        rows.append({"prompt": prompt, "completion": chosen.answer(*payload)})
    if len(rows) < count:
        raise ValueError(f"skills: {skill} has only {len(rows)} different rows in {split}; ask for fewer")
    return rows
