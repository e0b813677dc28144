"""The vision transformer against recorded values, its position embeddings, recomputation and drop path."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.layers.vit import DropPath, VisionShape, VisionTransformer, adapt_positions, resize_positions
from pyutils.weights.names import NameMap
from pyutils.weights.vision_names import HEADS, timm_rules
from tests.support import golden

STATES = {"rtol": 3e-5, "atol": 3e-5}
TINY = VisionShape(image_size=16, patch_size=8, width=12, depth=2, num_heads=3)


def recorded_model() -> VisionTransformer:
    vit = golden("albef/vit").config["vit"]
    model = VisionTransformer(
        VisionShape(
            vit["image_res"], vit["patch_size"], vit["embed_dim"], vit["depth"], vit["num_heads"], vit["mlp_ratio"]
        )
    )
    converted = NameMap(timm_rules("", "")).to_ours(golden("albef/vit").weights)
    assert converted.unmapped == []
    assert set(converted.tensors) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        tensor.set_value(np.ascontiguousarray(converted.tensors[name]))
    model.eval()
    return model


def test_tokens_of_every_block_match():
    recorded, model = golden("albef/vit"), recorded_model()
    images = paddle.to_tensor(recorded.inputs["image"])
    with paddle.no_grad():
        trail, maps = model.trace(images)
        patches, features = model.patches(images), model(images)
    expected = recorded.outputs
    np.testing.assert_allclose(patches.numpy(), expected["patch_embed"], **STATES)
    vit = recorded.config["vit"]
    for number in range(vit["depth"]):
        np.testing.assert_allclose(trail[number + 1].numpy(), expected[f"block_{number}"], **STATES)
    np.testing.assert_allclose(features.numpy(), expected["features"], **STATES)
    np.testing.assert_allclose(trail[-1].numpy(), expected["features"], **STATES)
    assert [list(item.weights.shape) for item in maps] == [
        [len(images), vit["num_heads"], trail[0].shape[1], trail[0].shape[1]]
    ] * vit["depth"]


def test_position_embeddings_are_interpolated_as_recorded():
    inputs, expected = golden("albef/vit").inputs, golden("albef/vit").outputs
    small, big = inputs["pos_embed_small"], inputs["pos_embed_big"]
    np.testing.assert_allclose(resize_positions(small, big.shape[1]), expected["small_to_big"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(resize_positions(big, small.shape[1]), expected["big_to_small"], rtol=0, atol=1e-5)
    assert resize_positions(small, small.shape[1]) is small


def test_only_position_embeddings_of_the_same_width_are_adapted():
    small = golden("albef/vit").inputs["pos_embed_small"]
    assert adapt_positions("vision.positions", small, (1, 37, small.shape[2])).shape == (1, 37, small.shape[2])
    assert adapt_positions("vision.positions", small, (1, 37, 48)) is None
    assert adapt_positions("vision.class_token", small, (1, 37, 36)) is None
    with pytest.raises(ValueError, match="square grid"):
        resize_positions(small, 36)


def test_gradients_reach_the_attention_maps():
    model = recorded_model()
    trail, maps = model.trace(paddle.to_tensor(golden("albef/vit").inputs["image"]))
    maps[1].weights.retain_grads()
    trail[-1][:, 0].sum().backward()
    assert float(maps[1].weights.grad.abs().max()) > 0


def test_recomputation_gives_the_same_gradients_with_frozen_patches():
    model = VisionTransformer(TINY)
    model.train()
    for part in (model.patches.weight, model.patches.bias, model.class_token, model.positions):
        part.stop_gradient = True
    images, found = paddle.rand([2, 3, 16, 16]), []
    for model.recompute_layers in (False, True):
        model(images).square().sum().backward()
        found.append([p.grad.numpy() for p in model.parameters() if not p.stop_gradient])
        model.clear_gradients()
    assert len(found[0]) == 2 * 12 + 2
    for plain, recomputed in zip(*found):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-5, atol=1e-6)


def test_drop_path_skips_samples_while_training_only():
    layer = DropPath(0.5)
    layer.eval()
    ones = paddle.ones([400, 2, 3])
    assert (layer(ones).numpy() == 1).all()
    layer.train()
    kept = layer(ones).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept == kept[:, :1, :1]).all()
    rates = [block.drop_path.rate for block in VisionTransformer(VisionShape(16, 8, 12, 3, 3, drop_path=0.2)).blocks]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2])


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"expected images \[batch, 3, 16, 16\], found \[2, 3, 24, 16\]"):
        VisionTransformer(TINY)(paddle.zeros([2, 3, 24, 16]))


def test_classifiers_of_imagenet_checkpoints_are_left_out():
    converted = NameMap(timm_rules("", "vision."), HEADS).to_ours(
        {"head.weight": np.zeros((5, 12)), "cls_token": np.zeros((1, 1, 12))}
    )
    assert list(converted.tensors) == ["vision.class_token"]
    assert converted.unmapped == []
