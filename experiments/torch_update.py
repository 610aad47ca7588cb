"""A training step of PyTorch, once there is a loss: what all its peers here share."""

import torch
from torch import Tensor, nn


def update(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float) -> Tensor:
    """Take a step down a loss, whose value is returned.

    Args:
        model: what trains.
        optimizer: of its parameters.
        loss: of a batch.
        clip: longer gradients are scaled down to this norm.

    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach()
