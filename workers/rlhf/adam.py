"""Adam in the form TensorFlow 1 computes it, which the 2019 hyperparameters were tuned for.

PyTorch divides by sqrt(v / (1 - beta2^t)) + eps, TensorFlow by sqrt(v) + eps with the bias correction in the step size.
With eps = 1e-5 and small gradients PyTorch's first steps are several times larger.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, overload

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.adam import adam
from torch.optim.optimizer import Optimizer, ParamsT


class TFAdam(Optimizer):
    """p <- p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps); no weight decay.

    t counts steps of the parameter group, as TensorFlow's beta powers do, and is saved with it.

    Args:
        params: float tensors on CPU or CUDA, or groups of them.
        lr: step size; set group["lr"] to change it between steps.
        betas: decay of the means of the gradient and of its square, in [0, 1).
        eps: added to sqrt(v), not to its bias-corrected form.
    Raises: ValueError on values out of range.
    Source: Kingma & Ba 2015, end of section 2; the form measured in "The N Implementation Details of RLHF".
    """

    def __init__(
        self, params: ParamsT, lr: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-5
    ) -> None:
        if lr < 0 or eps <= 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr {lr} must be >= 0, eps {eps} > 0 and betas {betas} in [0, 1)")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "step": 0})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient; `closure` recomputes the loss first, as in torch.optim."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        states = [self._moments(p) for p in params]
        beta1, beta2 = group["betas"]
        done = torch.full((len(params),), float(group["step"]), device=_own(params[0]).device)
        group["step"] += 1
        adam(
            [_own(p) for p in params],
            [_own(p.grad) for p in params if p.grad is not None],
            [_own(state["exp_avg"]) for state in states],
            [_own(state["exp_avg_sq"]) for state in states],
            [],
            list(done.unbind()),
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            # Multiplied out, both forms differ in eps alone; so PyTorch's one-pass kernel serves for ours.
            eps=group["eps"] / sqrt(1 - beta2 ** group["step"]),
            maximize=False,
        )

    def _moments(self, param: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[param]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        return state


def _own(tensor: Tensor) -> Tensor:
    """What this process has of a tensor: Adam goes element by element, so parts can be stepped apart."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
