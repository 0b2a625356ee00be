"""Name a state's factors as PEFT's files do."""

import numpy as np
from numpy.typing import NDArray

from openflock.update.fixed import FACTORS, GlobalState, to_float

_PREFIX = "base_model.model."


def build_tensors(state: GlobalState) -> dict[str, NDArray[np.float32]]:
    """Build the float32 tensors of an `adapter_model.safetensors`; A is (rank, inputs), B (outputs, rank)."""
    return {
        f"{_PREFIX}{name}.lora_{factor}.weight": to_float(values)
        for factor in FACTORS
        for name, values in state.get_factor(factor).items()
    }
