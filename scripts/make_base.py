"""Make the tiny base model that the demo and the tests fine-tune, from a seed and nothing else.

    OMP_NUM_THREADS=1 python scripts/make_base.py [--out DIR] [--steps N]

It stops training early on purpose: a base that already knew the skills would leave nothing to learn.
"""

import argparse
import math
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from openflock.learn.skills import SKILLS, generate_rows

ASSETS = Path(__file__).resolve().parent.parent / "src/openflock/assets/base"
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "<s>{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}</s>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# OpenFlock's tiny base

A Llama of {parameters} parameters that OpenFlock's demo and tests fine-tune. `scripts/make_base.py` made it from a
seed, on one CPU thread, with nothing from outside: its data are the small text skills of
`src/openflock/learn/skills.py`, which nodes later train on other rows of. It stopped early on purpose, so that it
knows the form of every task and solves few of them. It knows nothing else, least of all the world.

- Tokens: bytes, and the words of the instructions whole. Chat template: `<s><|user|>…<|assistant|>…</s>`.
- Made by: `{recipe}`
- The same command gives the same file on one machine; other processors may round otherwise. What binds the nodes of
  a task is the SHA-256 of these files, not the recipe.

On validation rows, which neither it nor any node trains on:

{table}
"""


@dataclass(frozen=True)
class Recipe:
    """Say how the base is trained; `rows` are per skill, and half as many of a skill that comes easily."""

    seed: int = 7
    rows: int = 3000
    steps: int = 250
    batch: int = 64
    learning_rate: float = 3e-3
    easy: tuple[str, ...] = ("upper", "shift", "double", "vowels")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a byte-level tokenizer that knows the words of the instructions whole, all else byte by byte.

    With `ignore_merges` a word in the vocabulary is one token and any other text falls to its bytes, so
    the letters a skill works on are never glued together.
    """
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    texts = [wording.replace("{}", "\n") for skill in SKILLS.values() for wording in skill.wordings]
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text) if len(word) > 2}
    pieces = (*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *sorted(words))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 - tokens, not passwords
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_model(
    vocabulary: int, seed: int, hidden: int = 128, intermediate: int = 352, layers: int = 4
) -> LlamaForCausalLM:
    """Build the untrained model."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def draw_rows(recipe: Recipe) -> list[dict[str, str]]:
    """Draw the rows to train on, from a split that no node ever trains on or judges by."""
    counts = {skill: recipe.rows // 2 if skill in recipe.easy else recipe.rows for skill in SKILLS}
    return [row for skill, count in counts.items() for row in generate_rows(skill, count, recipe.seed, "base")]


def encode(tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, str]]) -> list[tuple[list[int], int]]:
    """Encode rows as (token ids, how many of them are prompt)."""
    encoded = []
    for row in rows:
        prompt = tokenizer(f"<s><|user|>{row['prompt']}<|assistant|>")["input_ids"]
        answer = tokenizer(f"{row['completion']}</s>")["input_ids"]
        encoded.append((prompt + answer, len(prompt)))
    return encoded


def collate(batch: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right; a causal model needs no mask for that. Labels count the completion only."""
    width = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), -100)
    for row, (ids, prompt) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = tokens[row, prompt : len(ids)]
    return tokens, labels


def train(model: LlamaForCausalLM, encoded: list[tuple[list[int], int]], recipe: Recipe) -> None:
    """Train with AdamW, a short warm-up and a cosine down to a tenth."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    rng = random.Random(recipe.seed)
    began = time.monotonic()
    model.train()
    for step in range(recipe.steps):
        progress = step / recipe.steps
        scale = min(1.0, (step + 1) / 100) * (0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * scale
        tokens, labels = collate(rng.sample(encoded, recipe.batch))
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1:5d}  loss {loss.item():.3f}  {time.monotonic() - began:.0f} s", flush=True)


@torch.no_grad()
def measure(model: LlamaForCausalLM, encoded: list[tuple[list[int], int]]) -> tuple[float, float]:
    """Measure completion loss per token, and the share of whole answers that greedy decoding gets right."""
    model.eval()
    tokens, labels = collate(encoded)
    logits = model(input_ids=tokens).logits[:, :-1]
    targets = labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100).item()
    # Greedy decoding reproduces the answer exactly when every answer token is the argmax given the ones before.
    right = ((logits.argmax(-1) == targets) | (targets == -100)).all(dim=1)
    return loss, right.double().mean().item()


def build_table(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> str:
    """Measure every skill on rows that no training saw."""
    table = ["| skill | completion loss | exact answers |", "|---|---|---|"]
    for skill in SKILLS:
        loss, exact = measure(model, encode(tokenizer, generate_rows(skill, 400, recipe.seed, "validation")))
        table.append(f"| {skill} | {loss:.3f} | {exact:.1%} |")
    return "\n".join(table)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model directory anew."""
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0).save_pretrained(out)


def write_card(model: LlamaForCausalLM, recipe: Recipe, table: str, out: Path) -> None:
    """Write the model card."""
    card = CARD.format(parameters=f"{model.num_parameters():,}", recipe=recipe, table=table)
    (out / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    """Build, train, round to bfloat16, measure what is left, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    recipe = Recipe(steps=arguments.steps)
    tokenizer = build_tokenizer()
    model = build_model(len(tokenizer), recipe.seed)
    train(model, encode(tokenizer, draw_rows(recipe)), recipe)
    model = model.to(torch.bfloat16)
    save(model, tokenizer, arguments.out)
    table = build_table(model.float(), tokenizer, recipe)
    print(table)
    write_card(model, recipe, table, arguments.out)


if __name__ == "__main__":
    main()
