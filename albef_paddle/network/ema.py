"""The momentum teacher: slowly moving copies of some of a model's parts (arXiv 2107.07651, sections 3.2 and 3.3)."""

from __future__ import annotations

import copy

import paddle
from paddle import nn

_RATES = ("p", "rate", "dropout")
"""What layers call their rate: Paddle's dropout, ours and drop path, attention."""


class Teacher(nn.Layer):
    """Copies of the parts `names` of `student`, under the same names, which no optimizer trains.

    `momentum`: share of itself that a copy keeps in `update`. Without `dropout` the teacher computes as in evaluation
    whatever mode the model is in.
    """

    def __init__(self, student: nn.Layer, names: tuple[str, ...], momentum: float, dropout: bool = False):
        super().__init__()
        self.momentum = momentum
        for name in names:
            self.add_sublayer(name, copy.deepcopy(getattr(student, name)))
        for parameter in self.parameters():
            parameter.stop_gradient = True
        if not dropout:
            _switch_dropout_off(self)

    @paddle.no_grad()
    def update(self, student: nn.Layer) -> None:
        """teacher ← momentum · teacher + (1 - momentum) · student, one kernel a tensor and no temporary ones."""
        share = paddle.to_tensor(1.0 - self.momentum)  # a number would become a tensor for each parameter anew
        for slow, fast in self._pairs(student):
            slow.lerp_(fast, share)

    @paddle.no_grad()
    def copy_from(self, student: nn.Layer) -> None:
        """Start again from the student's weights."""
        for slow, fast in self._pairs(student):
            paddle.assign(fast, output=slow)

    def _pairs(self, student: nn.Layer) -> list[tuple[paddle.Tensor, paddle.Tensor]]:
        """Each parameter of the teacher with the student's of the same name."""
        pairs = []
        for name, part in self.named_children():
            fast = dict(getattr(student, name).named_parameters())
            pairs += [(parameter, fast[key]) for key, parameter in part.named_parameters()]
        return pairs


def _switch_dropout_off(layer: nn.Layer) -> None:
    """Make every kind of dropout inside `layer` do nothing, in training mode too."""
    for part in layer.sublayers(include_self=True):
        for rate in _RATES:
            if isinstance(getattr(part, rate, None), (int, float)):
                setattr(part, rate, 0.0)
