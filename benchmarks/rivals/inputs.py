"""Make the rivals' base and rows from a seed: a two-layer Llama that knows nothing, and rows of random letters."""

import json
import random
import string
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from workload import (
    ALPHA,
    BATCH,
    CLIENTS,
    DOMAINS,
    HELD_OUT_ROWS,
    LEARNING_RATE,
    LENGTH,
    RANK,
    STEPS,
    TARGETS,
    TRAIN_ROWS,
)

SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
VOCABULARY = 256
PROMPT = 32  # letters
COMPLETION = LENGTH - PROMPT - 4  # the template's marks fill the row
CHAT_TEMPLATE = (
    "<s>{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}</s>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_base(path: Path) -> None:
    """Write the base; its last five bytes, which no row holds, give their places to the template's marks."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0).save_pretrained(path)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of one token a byte."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())][:VOCABULARY]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 - tokens, not passwords
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_rows(path: Path) -> None:
    """Write every domain's rows: to repeat the prompt's beginning, each domain in letters of its own."""
    rng = random.Random(0)
    for domain in range(DOMAINS):
        letters = string.ascii_lowercase[domain::DOMAINS]
        counts = {"train": CLIENTS // DOMAINS * (TRAIN_ROWS + HELD_OUT_ROWS), "validation": BATCH}
        for split, count in counts.items():
            prompts = ["".join(rng.choices(letters, k=PROMPT)) for _ in range(count)]
            rows = [json.dumps({"prompt": prompt, "completion": prompt[:COMPLETION]}) for prompt in prompts]
            file = path / str(domain) / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(rows) + "\n")


def make_config(directory: Path) -> str:
    """Write the same workload as OpenFlock's configuration, everything on."""
    return f"""title = "The rivals' workload"
base = "{directory}/base"
data = "{directory}/data"
nodes_per_domain = {CLIENTS // DOMAINS}
rank = {RANK}
alpha = {ALPHA}
targets = {list(TARGETS)}
max_length = {LENGTH}
train = {{ steps = {STEPS}, batch_size = {BATCH}, learning_rate = {LEARNING_RATE} }}
rows = {{ train = {TRAIN_ROWS}, held_out = {HELD_OUT_ROWS}, report = {BATCH} }}
"""


def make_inputs(directory: Path) -> None:
    """Write base, rows and configuration."""
    make_base(directory / "base")
    make_rows(directory / "data")
    (directory / "openflock.toml").write_text(make_config(directory))


if __name__ == "__main__":
    make_inputs(Path(sys.argv[1]))
