"""Hide while training, not after it: what an attacker changes between a backward pass and its step.

Each gives an `Adjust` for one training. Vectors are flat, in weights, in the order in which the parameters come.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from openflock.learn.train import Adjust

Numbers = NDArray[np.float64]
Parameters = Sequence[torch.nn.Parameter]


def hook_pgd(radius: float) -> Adjust:
    """Keep to a ball around the weights that training starts from (Wang et al. 2020, arXiv 2007.05084).

    Projects before each step: the last one may leave the ball, so that `targeted.pgd` has to end it.
    """
    start: list[torch.Tensor] = []

    @torch.no_grad()
    def adjust(parameters: Parameters) -> None:
        if not start:
            start.extend(each.detach().clone() for each in parameters)
        moves = [each - before for each, before in zip(parameters, start, strict=True)]
        norm = float(torch.sqrt(sum((move**2).sum() for move in moves)))  # type: ignore[arg-type]  # never empty
        if norm > radius:
            for each, before, move in zip(parameters, start, moves, strict=True):
                each.copy_(before + move * (radius / norm))

    return adjust


def hook_neurotoxin(moves: Numbers, share: float) -> Adjust:
    """Leave alone, in each step, what honest training moves most (Zhang et al. 2022, arXiv 2206.10341).

    Masks round(share * numbers); a gradient that is always zero moves nothing, whatever the momentum.
    """
    masked = np.zeros(moves.size, np.bool_)
    masked[np.argsort(-np.abs(moves), kind="stable")[: round(share * moves.size)]] = True

    def adjust(parameters: Parameters) -> None:
        for each, mask in zip(parameters, cut(torch.from_numpy(masked), parameters), strict=True):
            if each.grad is not None:
                each.grad[mask] = 0

    return adjust


def hook_pull(mean: Numbers, blend: float) -> Adjust:
    """Train on blend * L_task + (1 - blend) * L_anomaly: constrain-and-scale (Bagdasaryan et al. 2020, 1807.00459).

    The anomaly is the squared distance from where the honest mean leads, over that mean's own squared norm.
    """
    target, scale = torch.from_numpy(mean).float(), 2 / max(float(mean @ mean), 1e-12)
    ends: list[torch.Tensor] = []

    @torch.no_grad()
    def adjust(parameters: Parameters) -> None:
        if not ends:
            ends.extend(each + move for each, move in zip(parameters, cut(target, parameters), strict=True))
        for each, end in zip(parameters, ends, strict=True):
            if each.grad is not None:
                each.grad.mul_(blend).add_((1 - blend) * scale * (each - end))

    return adjust


def cut(vector: torch.Tensor, parameters: Parameters) -> list[torch.Tensor]:
    """Cut a flat vector into pieces of the parameters' shapes."""
    pieces = torch.split(vector, [each.numel() for each in parameters])
    return [piece.view(each.shape).to(each.device) for piece, each in zip(pieces, parameters, strict=True)]
