"""The momentum teacher: an exponential moving average of parts of a model (arXiv 2107.07651, sections 3.2 and 3.3)."""

from __future__ import annotations

import copy

import paddle
from paddle import nn

_DROPOUT_RATES = ("p", "rate", "dropout")  # of Paddle's dropout, of ours and drop path, of attention


class Teacher(nn.Layer):
    """Copies of the parts `names` of `student`, under the same names; no optimizer trains them.

    The EMA decay is `student.config.momentum`. Without `student.config.teacher_dropout` the teacher has no dropout, not
    even in training mode.
    """

    def __init__(self, student: nn.Layer, names: tuple[str, ...]):
        super().__init__()
        self.momentum = student.config.momentum
        for name in names:
            self.add_sublayer(name, copy.deepcopy(getattr(student, name)))
        for parameter in self.parameters():
            parameter.stop_gradient = True
        if not student.config.teacher_dropout:
            _disable_dropout(self)

    @paddle.no_grad()
    def update(self, student: nn.Layer) -> None:
        """teacher ← momentum · teacher + (1 - momentum) · student, in place, one kernel per tensor."""
        share = paddle.to_tensor(1.0 - self.momentum)  # a number would become a new tensor for each parameter
        for slow, fast in self._pairs(student):
            slow.lerp_(fast, share)

    @paddle.no_grad()
    def copy_from(self, student: nn.Layer) -> None:
        """Copy the student's weights."""
        for slow, fast in self._pairs(student):
            paddle.assign(fast, output=slow)

    def _pairs(self, student: nn.Layer) -> list[tuple[paddle.Tensor, paddle.Tensor]]:
        """Each parameter of the teacher with the student's of the same name."""
        student_parameters = dict(student.named_parameters())
        return [(slow, student_parameters[name]) for name, slow in self.named_parameters()]


def _disable_dropout(layer: nn.Layer) -> None:
    for part in layer.sublayers(include_self=True):
        for rate in _DROPOUT_RATES:
            if isinstance(getattr(part, rate, None), (int, float)):
                setattr(part, rate, 0.0)
