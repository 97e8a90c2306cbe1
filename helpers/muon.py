"""Muon: steps for weight matrices in which every direction counts the same.

Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, 2024, "Muon: An Optimizer for
Hidden Layers in Neural Networks". PyTorch's own ``torch.optim.Muon`` takes matrices only,
no convolutions, and always computes in bfloat16, which many processors are slow at. Five steps of the
iteration below are usual; here three lose nothing and take less time (``helpers/workshop/tried.md``).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of ``orthogonal``, from the source above: few steps, and a rough result that is good enough."""


def orthogonal(matrix: Tensor, steps: int = 3) -> Tensor:
    """About the nearest matrix whose singular values are all equal to 1.

    Five Newton-Schulz iterations with the coefficients above bring the singular values
    to between about 0.7 and 1.2; three leave the smallest of them smaller. A singular value decomposition
    would bring them to exactly 1, and take many times as long.

    Args:
        matrix: rows×columns, float.
        steps: of the iteration.

    Returns:
        rows×columns, of the same dtype. A matrix of zeros stays one.

    Raises:
        ValueError: it is no matrix of floats, or ``steps`` is no whole number.
    """
    if not torch.is_tensor(matrix) or matrix.ndim != 2 or not matrix.is_floating_point():
        found = f"{tuple(matrix.shape)} of {matrix.dtype}" if torch.is_tensor(matrix) else f"{matrix!r:.80}"
        raise ValueError(
            f"orthogonal takes a float tensor, rows × columns, not {found}. Use weight.flatten(1)."
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps={steps!r} must be a whole number, at least 0; 3 to 5 are usual.")
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        products = x @ x.T
        x = a * x + (b * products + c * products @ products) @ x
    return x if wide is matrix else x.T


class Muon(torch.optim.SGD):
    """SGD that makes the steps of some groups orthogonal.

    Momentum adds up the gradients of many steps. In such a sum a few directions
    are large and hide the others. For the groups with ``orthogonal=True`` Muon sets
    all of its singular values to about 1, so that what is rare is learnt as fast as what
    is frequent. A convolution counts as a matrix with a row for each output channel.
    All other groups are trained by SGD.

    Args:
        groups: dicts as for ``torch.optim.SGD``, with ``orthogonal`` True or left out; the weights
            of such a group have at least two dimensions. With ``bfloat16`` True the iteration computes in
            it, which some processors are faster at.
        lr, momentum, weight_decay, nesterov, …: as for ``torch.optim.SGD``. In orthogonal groups
            the weights shrink by ``lr * weight_decay`` in each step, whatever the gradient is.

    Raises:
        ValueError: ``maximize`` or ``dampening`` in an orthogonal group, which has neither; or weights of
            fewer than two dimensions.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any):
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            group.setdefault("orthogonal", False)
            group.setdefault("bfloat16", False)
            if group["orthogonal"] and (group["maximize"] or group["dampening"]):
                raise ValueError("An orthogonal group has no maximize and no dampening. Leave them out.")
            if group["orthogonal"] and any(weight.ndim < 2 for weight in group["params"]):
                raise ValueError(
                    "An orthogonal group is for weights with rows and columns. Put biases and scales into another group."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups; ``closure`` as for ``torch.optim.SGD``."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hidden = []
        for group in self.param_groups:
            if group["orthogonal"]:
                for weight in group["params"]:
                    self._step(weight, group)
                    weight.grad, saved = None, weight.grad  # SGD leaves out what has no gradient
                    hidden.append((weight, saved))
        super().step()
        for weight, gradient in hidden:
            weight.grad = gradient
        return loss

    def _step(self, weight: Tensor, group: dict) -> None:
        if weight.grad is None or not weight.numel():
            return
        state = self.state[weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(weight)
        total = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
        direction = weight.grad.add(total, alpha=group["momentum"]) if group["nesterov"] else total
        rows, columns = weight.shape[0], weight[0].numel()
        matrix = direction.reshape(rows, columns)
        direction = orthogonal(matrix.bfloat16() if group["bfloat16"] else matrix).view_as(weight)
        rate, scale = group["lr"], max(1, rows / columns) ** 0.5
        weight.mul_(1 - rate * group["weight_decay"])
        if torch.is_tensor(rate):  # on the GPU, for a step that is recorded there
            weight.addcmul_(direction.to(weight.dtype), rate, value=-scale)
        else:
            weight.add_(direction, alpha=-rate * scale)


__all__ = ["Muon", "orthogonal"]
