"""AdaHessian (arXiv 2006.00719): Adam with second moments of a sampled diagonal of the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from pyutils.optim.adam import AdamRule, corrections
from pyutils.optim.base import Optimizer, Trained
from pyutils.optim.rule import At, Slots

if TYPE_CHECKING:
    from paddle import Tensor


@dataclass(frozen=True)
class AdaHessian(AdamRule):
    """Algorithm 1. The diagonal is sampled every `update_each` updates by `n_samples` Hessian-vector products;
    avg_conv_kernel averages it over the last two axes of 4-d parameters (spatial averaging, §3.2)."""

    hessian_power: float = 1.0
    update_each: int = 1
    n_samples: int = 1
    avg_conv_kernel: bool = False

    def slots(self, parameter: Tensor) -> Slots:
        return {**super().slots(parameter), "hessian": paddle.zeros_like(parameter)}

    def update(self, parameter: Tensor, gradient: Tensor, slots: Slots, at: At) -> tuple[Tensor, Slots]:
        beta1, beta2 = self.betas
        hessian = slots["hessian"]
        if self.avg_conv_kernel and hessian.ndim == 4:
            hessian = hessian.abs().mean(axis=[2, 3], keepdim=True)
        moment1 = beta1 * slots["moment1"] + (1.0 - beta1) * gradient
        moment2 = beta2 * slots["moment2"] + (1.0 - beta2) * hessian.square()
        first, second = corrections(self.betas, at.step)
        root = (moment2 / second) ** (self.hessian_power / 2.0) + self.eps
        value = parameter * (1.0 - at.lr * at.weight_decay) - at.lr / first * moment1 / root
        return value, {"moment1": moment1, "moment2": moment2, "hessian": slots["hessian"]}


def rademacher(name: str, parameter: Tensor) -> Tensor:
    """Return random signs of the shape of `parameter`, from Paddle's generator."""
    return paddle.randint(0, 2, parameter.shape).astype(parameter.dtype) * 2.0 - 1.0


class HessianOptimizer(Optimizer):
    """Optimizer whose `backward`, used instead of `loss.backward()`, also samples the diagonal of the Hessian.

    Needs operators with second derivatives and no loss scaling. Several calls before a step add up, as gradients do.
    draw_signs(name, parameter) returns the random signs of one sample.
    """

    draw_signs: Callable[[str, Tensor], Tensor] = staticmethod(rademacher)

    rule: AdaHessian

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        self._fresh: set[str] = set()

    def backward(self, loss: Tensor) -> None:
        entries = self.trained
        renewed = [entry for entry in entries if entry.step % self.rule.update_each == 0]
        parameters = [entry.parameter for entry in entries]
        gradients = paddle.grad(loss, parameters, create_graph=bool(renewed), retain_graph=True, allow_unused=True)
        found = {entry.name: value for entry, value in zip(entries, gradients) if value is not None}
        self._sample_hessian([entry for entry in renewed if entry.name in found], found)
        for entry in entries:
            if entry.name in found:
                before, value = entry.parameter.grad, found[entry.name].detach()
                entry.parameter.grad = value if before is None else before + value

    def _sample_hessian(self, entries: list[Trained], gradients: dict[str, Tensor]) -> None:
        """Store the mean of z * (Hessian z) over samples of random signs z in the slots of `entries`."""
        if not entries:
            return
        share = 1.0 / self.rule.n_samples
        parameters = [entry.parameter for entry in entries]
        outputs = [gradients[entry.name] for entry in entries]
        for _ in range(self.rule.n_samples):
            signs = [self.draw_signs(entry.name, entry.parameter) for entry in entries]
            products = paddle.grad(outputs, parameters, grad_outputs=signs, retain_graph=True, allow_unused=True)
            for entry, sign, product in zip(entries, signs, products):
                if product is not None:
                    self._add_hessian(entry, share * sign * product.detach())

    def _add_hessian(self, entry: Trained, value: Tensor) -> None:
        slots = self._slots_of(entry)
        slots["hessian"] = slots["hessian"] + value if entry.name in self._fresh else value
        self._fresh.add(entry.name)

    def step(self) -> None:
        super().step()
        self._fresh.clear()
