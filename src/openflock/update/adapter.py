"""Name a state's factors as PEFT's files do."""

import numpy as np
from numpy.typing import NDArray

from openflock.update.fixed import FACTORS, GlobalState, Layout, to_float

_PREFIX = "base_model.model."


def compute_strength(layout: Layout) -> tuple[int, float]:
    """Give PEFT's `r` and `lora_alpha`: it scales by lora_alpha / r, we by alpha / rank whatever the width."""
    width = max(1, layout.width)
    return width, layout.alpha if width == layout.rank else layout.alpha * width / layout.rank


def build_tensors(state: GlobalState) -> dict[str, NDArray[np.float32]]:
    """Build the float32 tensors of an `adapter_model.safetensors`; A is (r, inputs), B (outputs, r).

    PEFT knows no adapter without components, so one of zeros stands for none.
    """
    if state.layout.width == 0:
        shapes = {factor: state.layout.resize(1).compute_shapes(factor) for factor in FACTORS}
        return {
            f"{_PREFIX}{name}.lora_{factor}.weight": np.zeros(shape, np.float32)
            for factor in FACTORS
            for name, shape in shapes[factor].items()
        }
    return {
        f"{_PREFIX}{name}.lora_{factor}.weight": to_float(values)
        for factor in FACTORS
        for name, values in state.get_factor(factor).items()
    }
