"""Write the global state as an ordinary PEFT adapter that anybody's tools load."""

import json
import re
from pathlib import Path

from peft import LoraConfig
from safetensors.numpy import save_file

from openflock.update.adapter import build_tensors, compute_strength
from openflock.update.fixed import GlobalState, Layout

CARD = """---
base_model: {quoted}
library_name: peft
pipeline_tag: text-generation
tags:
- {tag}
- lora
- openflock
---

# An adapter trained together with OpenFlock

A LoRA adapter of rank {rank}, scaled by {scale:g}, on {modules} modules of `{base}`, after {step} accepted steps.
The nodes that trained it kept their data to themselves; a smart contract kept the record.

| | |
|---|---|
| digest of the global state (SHA-256) | `{digest}` |
| digest of the base (SHA-256) | `{base_digest}` |

These weights are the global state's integers divided by 2^24; replaying the task gives the same digest.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({quoted}), "path/to/this/directory")
```
"""


def export_adapter(state: GlobalState, out: Path, base: str, digest: bytes, base_digest: bytes | None = None) -> None:
    """Write adapter_config.json, adapter_model.safetensors (float32) and a model card into `out`.

    `base` is the path or hub id that the files name as their base, `digest` the state's. PEFT scales B @ A itself, so
    the factors are written as they are.
    """
    out.mkdir(parents=True, exist_ok=True)
    save_file(build_tensors(state), out / "adapter_model.safetensors", metadata={"format": "pt"})
    build_config(state.layout, base).save_pretrained(str(out))
    card = CARD.format(
        base=base,
        quoted=json.dumps(base),
        tag=json.dumps(f"base_model:adapter:{base}"),
        rank=state.layout.width,
        scale=state.layout.alpha / state.layout.rank,
        modules=len(state.layout.modules),
        step=state.step,
        digest=digest.hex(),
        base_digest="not recorded" if base_digest is None else base_digest.hex(),
    )
    (out / "README.md").write_text(card, encoding="utf-8")


def build_config(layout: Layout, base: str) -> LoraConfig:
    """Build PEFT's configuration for exactly the layout's modules."""
    # A pattern, matched in full: in a list PEFT would take each name as an ending, and match more modules.
    names = "|".join(re.escape(module.name) for module in layout.modules)
    rank, alpha = compute_strength(layout)
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=f"(?:{names})",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
