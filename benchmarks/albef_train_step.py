"""One training step of ALBEF retrieval at full size, compared with a straightforward step on the same weights.

    python benchmarks/albef_train_step.py [--batch 4] [--size 384] [--queue 65536] [--steps 3] [--threads 2] [--profile]

ViT-B/16, BERT-base with six fusion layers, momentum teacher, queue, AdamW. The straightforward step is the published
code with Paddle's own layers: keys and values of the image projected for each of the three pairs, all words in the last
layer, negatives drawn one by one, Paddle's log softmax, dropout, linear and LayerNorm kernels and strided layouts,
teacher updated through temporary tensors, `paddle.optimizer.AdamW`. It also runs with our log softmax, which saves the
most. All steps alternate in one process with the same batch, threads and matrix library. First, the losses of both on
the same negatives are compared without dropout. --profile prints the most expensive operators of one step of ours.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ALPHA, LR, DECAY = 0.4, 1e-5, 0.02


class PlainStep:
    """The straightforward step; trains the parameters of `model`, an AlbefForRetrieval."""

    def __init__(self, model):
        import paddle
        import paddle.nn.functional as F

        self.paddle, self.F, self.model, self.dropout = paddle, F, model, 0.1
        self.log_softmax = F.log_softmax
        trained = [p for p in model.parameters() if not p.stop_gradient]
        matrices = {p.name for p in trained if p.ndim > 1}
        self.optimizer = paddle.optimizer.AdamW(
            LR, parameters=trained, weight_decay=DECAY, apply_decay_param_fun=lambda name: name in matrices
        )

    def linear(self, layer, x):
        return self.F.linear(x, layer.weight, layer.bias)

    def norm(self, layer, x):
        return self.F.layer_norm(x, layer.weight.shape, layer.weight, layer.bias, layer._epsilon)

    def heads(self, x):
        return x.reshape([x.shape[0], x.shape[1], 12, -1]).transpose([0, 2, 1, 3])

    def attend(self, query, key, value, mask, dropout):
        scores = self.paddle.matmul(query, key, transpose_y=True) / query.shape[-1] ** 0.5
        weights = self.F.dropout(self.F.softmax(scores if mask is None else scores + mask), dropout)
        mixed = self.paddle.matmul(weights, value).transpose([0, 2, 1, 3])
        return mixed.reshape([mixed.shape[0], mixed.shape[1], -1])

    def image_states(self, vision, images):
        x = vision.embed(images)
        for block in vision.blocks:
            y = self.linear(block.attention.qkv, self.norm(block.attention_norm, x))
            query, key, value = (self.heads(part) for part in y.chunk(3, axis=-1))
            x = x + self.linear(block.projection, self.attend(query, key, value, None, 0.0))
            y = self.F.gelu(self.linear(block.expand, self.norm(block.mlp_norm, x)))
            x = x + self.linear(block.contract, y)
        return self.norm(vision.norm, x)

    def residual(self, output, x, before):
        return self.norm(output.norm, self.F.dropout(self.linear(output.dense, x), self.dropout) + before)

    def attention(self, block, x, context, mask):
        part = block.attend
        query, key, value = self.linear(part.query, x), self.linear(part.key, context), self.linear(part.value, context)
        mixed = self.attend(self.heads(query), self.heads(key), self.heads(value), mask, self.dropout)
        return self.residual(block.output, mixed, x)

    def layers(self, layers, x, mask, context=None):
        for layer in layers:
            x = self.attention(layer.attention, x, x, mask)
            if context is not None:
                x = self.attention(layer.cross_attention, x, context, None)
            y = self.F.gelu(self.linear(layer.feed_forward.expand, x))
            x = self.residual(layer.feed_forward.output, y, x)
        return x

    def encode(self, parts, images, ids, mask):
        """Compute hidden states and unit features of images and texts."""
        image_states = self.image_states(parts.vision, images)
        table = parts.text.embeddings
        x = self.F.embedding(ids, table.words.weight) + table.positions.weight[: ids.shape[1]]
        x = self.F.dropout(self.norm(table.norm, x + table.token_types.weight[0]), self.dropout)
        states = self.layers(parts.text.text_layers.layers, x, mask)
        features = [
            self.F.normalize(self.linear(layer, s[:, 0]), axis=-1)
            for layer, s in ((parts.vision_projection, image_states), (parts.text_projection, states))
        ]
        return image_states, states, *features

    def losses(self, images, ids, mask, identities, negatives=None):
        """Compute the ITC and ITM losses, and the teacher's features."""
        paddle, model, queue = self.paddle, self.model, self.model.queue
        mask = (1.0 - mask.astype("float32")).unsqueeze([1, 2]) * -10000.0
        tokens, states, image, text = self.encode(model, images, ids, mask)
        with paddle.no_grad():
            _, _, slow_image, slow_text = self.encode(model.teacher, images, ids, mask)
            all_images = paddle.concat([slow_image.t(), queue.images.clone()], axis=1)
            all_texts = paddle.concat([slow_text.t(), queue.texts.clone()], axis=1)
            known = paddle.concat([identities, queue.identities[0]])
            same = (identities.unsqueeze(1) == known).astype("float32")
            hard = same / same.sum(axis=1, keepdim=True)
            soft = [
                ALPHA * self.F.softmax(slow @ others / model.temperature) + (1 - ALPHA) * hard
                for slow, others in ((slow_image, all_texts), (slow_text, all_images))
            ]
        scores = [image @ all_texts / model.temperature, text @ all_images / model.temperature]
        itc = sum(-(self.log_softmax(s) * t).sum(axis=1).mean() for s, t in zip(scores, soft)) / 2
        wrong_images, wrong_texts = negatives or self.negatives(scores, same)
        fused = self.layers(model.text.fusion_layers.layers, states, mask, tokens)
        pairs = [paddle.concat([a, b]) for a, b in ((states, states[wrong_texts]), (tokens[wrong_images], tokens))]
        masks = paddle.concat([mask, mask[wrong_texts]])
        unlike = self.layers(model.text.fusion_layers.layers, pairs[0], masks, pairs[1])
        logits = self.linear(model.matching, paddle.concat([fused[:, 0], unlike[:, 0]]))
        labels = paddle.concat([paddle.ones([len(ids)], "int64"), paddle.zeros([2 * len(ids)], "int64")])
        return itc, self.F.cross_entropy(logits, labels), slow_image, slow_text

    def negatives(self, scores, same):
        """Draw rows of negative images and texts, one at a time."""
        batch = len(same)
        drawn = []
        for within in (scores[1][:, :batch], scores[0][:, :batch]):
            weights = (self.F.softmax(within) + 1e-4) * (1.0 - same[:, :batch])
            drawn.append(self.paddle.to_tensor([self.paddle.multinomial(row, 1).item() for row in weights]))
        return drawn

    def __call__(self, batch) -> float:
        """Run one step; returns the loss."""
        self.paddle.set_flags({"FLAGS_use_stride_kernel": True})
        loss = self.step(batch)
        self.paddle.set_flags({"FLAGS_use_stride_kernel": False})
        return loss

    def step(self, batch) -> float:
        """Run one step in the current memory layout."""
        paddle, model = self.paddle, self.model
        with paddle.no_grad():
            for slow, fast in model.teacher._pairs(model):
                paddle.assign(slow * model.teacher.momentum + fast * (1.0 - model.teacher.momentum), output=slow)
        itc, itm, slow_image, slow_text = self.losses(*batch)
        model.queue.enqueue(slow_image, slow_text, batch[-1])
        (itc + itm).backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return float(itc + itm)


class OurStep:
    """The project's step, with the task's network and optimizer."""

    def __init__(self, model):
        from pyutils.optim import OptimizerConfig, build_optimizer

        self.model = model
        settings = OptimizerConfig(name="adamw", lr=LR, weight_decay=DECAY)
        self.optimizer = build_optimizer(settings, dict(model.named_parameters()))

    def __call__(self, batch) -> float:
        """Run one step; returns the loss."""
        self.model.teacher.update(self.model)
        losses = self.model(*batch, ALPHA)
        loss = losses.itc + losses.itm
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        return float(loss)


def with_log_softmax(plain: PlainStep) -> PlainStep:
    """Return the same step on the same weights with the project's log softmax."""
    from pyutils.losses import log_softmax

    other = copy.copy(plain)
    other.log_softmax = log_softmax
    return other


def make_batch(options, rng):
    """Make images `[b, 3, size, size]`, ids and mask of captions of 10 to 18 tokens, image identities."""
    import paddle

    lengths = rng.integers(10, 19, options.batch)
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1000, 30000, mask.shape) * mask
    images = rng.standard_normal((options.batch, 3, options.size, options.size), dtype=np.float32)
    return tuple(map(paddle.to_tensor, (images, ids, mask, np.arange(options.batch))))


def compare(ours: OurStep, plain: PlainStep, batch) -> None:
    """Print the losses of both without dropout on the same negatives."""
    import paddle

    from pyutils.layers.contrast import Negatives

    wrong = paddle.roll(paddle.arange(len(batch[1]), dtype="int64"), 1)
    plain.dropout, rate = 0.0, plain.dropout
    ours.model.eval()
    with paddle.no_grad():
        found = ours.model(*batch, ALPHA, negatives=Negatives(wrong, wrong))
        expected = plain.losses(*batch, negatives=(wrong, wrong))[:2]
    ours.model.train()
    plain.dropout = rate
    print(f"losses without dropout: {[float(x) for x in found]}, straightforward {[float(x) for x in expected]}")


def profile(step, batch) -> None:
    """Print Paddle's table of operators of one step."""
    from paddle import profiler

    with profiler.Profiler(targets=[profiler.ProfilerTarget.CPU]) as run:
        step(batch)
    run.summary(sorted_by=profiler.SortedKeys.CPUTotal, op_detail=False, thread_sep=False)


def main() -> None:
    """Time all steps alternately and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("batch", 4), ("size", 384), ("queue", 65536), ("steps", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    os.environ["PYUTILS_CPU_THREADS"] = str(options.threads)
    from albef_paddle.config import AlbefConfig, VisionConfig
    from albef_paddle.network.retrieval import AlbefForRetrieval

    model = AlbefForRetrieval(AlbefConfig(vision=VisionConfig(image_size=options.size), queue_size=options.queue))
    model.train()
    sides = {"ours": OurStep(model), "straightforward": PlainStep(copy.deepcopy(model))}
    rng = np.random.default_rng(0)
    compare(*sides.values(), make_batch(options, rng))
    sides["straightforward, our log softmax"] = with_log_softmax(sides["straightforward"])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.steps + 1):
        batch = make_batch(options, rng)
        for name, step in sides.items():
            start = time.perf_counter()
            step(batch)
            if number:  # the first step of each side warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"batch {options.batch}, {options.size} pixels, queue {options.queue}, {options.threads} threads")
    print("| step | seconds (median) | fastest | times ours |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(values) / statistics.median(seconds["ours"])
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {ratio:.2f} |")
    if options.profile:
        profile(sides["ours"], batch)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
