"""Classification of a sentence with one image (SNLI-VE) or two (NLVR2) (arXiv 2107.07651, sections 4.3, 4.4)."""

from __future__ import annotations

import paddle
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.text_encoder import text_encoder
from pyutils.layers.initializers import linear
from pyutils.layers.vit import VisionTransformer
from pyutils.losses import distilled_cross_entropy, masked_cross_entropy
from pyutils.packages import PretrainedModel


class PairClassifier(PretrainedModel, nn.Layer):
    """An MLP on the first token's hidden state of a sentence fused with `images` images.

    Call `teacher.update(model)` before the first forward pass of every optimizer step.
    """

    def __init__(self, config: AlbefConfig, classes: int, images: int):
        super().__init__()
        self.config, self.images = config, images
        self.vision = VisionTransformer(config.vision.shape())
        self.text = text_encoder(config.text, config.vision.width, images)
        size = config.text.hidden_size
        self.classifier = nn.Sequential(linear(size, size), nn.ReLU(), linear(size, classes))
        self.teacher = Teacher(self, ("vision", "text", "classifier"))

    def classify(
        self, parts, images: paddle.Tensor, input_ids: paddle.Tensor, text_mask: paddle.Tensor
    ) -> paddle.Tensor:
        """Compute logits `[batch, classes]` with `parts`, this model or its teacher; arguments as in `loss`."""
        if self.images > 1:
            images = images.reshape([-1, *images.shape[2:]])
        image_states = parts.vision(images)
        contexts = [image_states[first :: self.images] for first in range(self.images)]
        states = parts.text(input_ids, text_mask, parts.text.memories(*contexts), read_at=0)
        return parts.classifier(states[:, 0])

    def forward(self, images: paddle.Tensor, input_ids: paddle.Tensor, text_mask: paddle.Tensor) -> paddle.Tensor:
        """Compute logits `[batch, classes]`; arguments as in `loss`."""
        return self.classify(self, images, input_ids, text_mask)

    def loss(
        self,
        images: paddle.Tensor,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        labels: paddle.Tensor,
        alpha: float,
    ) -> paddle.Tensor:
        """Compute the cross entropy, distilled from the teacher with weight `alpha`; a scalar.

        `images` `[batch, 3, size, size]` float32, or `[batch, images, 3, size, size]` with several images per sentence;
        `input_ids`, `text_mask` `[batch, t]` int64; `labels` `[batch]` int64.
        """
        logits = self(images, input_ids, text_mask)
        if not self.config.distill:
            return masked_cross_entropy(logits, labels)
        with paddle.no_grad():
            teacher = self.classify(self.teacher, images, input_ids, text_mask)
        return distilled_cross_entropy(logits, labels, teacher, alpha)


class AlbefForEntailment(PairClassifier):
    """SNLI-VE (section 4.4): `config.num_classes` classes."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, config.num_classes, images=1)


class AlbefForReasoning(PairClassifier):
    """NLVR2 (section 4.3): class 1 = the sentence is true of the two images."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, classes=2, images=2)
