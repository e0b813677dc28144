"""Building ALBEF's networks from recorded configurations, weights and inputs, and comparing with recorded arrays."""

from __future__ import annotations

import numpy as np
import paddle

from albef_paddle.checkpoints.weights import convert_albef_weights, load_tensors, to_original
from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.itc import ItcOutput, ItmOutput, UnimodalOutput
from albef_paddle.network.retrieval import AlbefForRetrieval
from pyutils.losses import hard_negative_weights, soft_target_cross_entropy
from pyutils.text.masking import MaskDraws, mask_words

STATES = {"rtol": 3e-5, "atol": 3e-5}


def config_of(recorded: dict) -> AlbefConfig:
    """Our configuration for a recorded one."""
    return AlbefConfig(
        vision=vision_of(recorded["vit"]),
        text=text_of(recorded["bert"]),
        embed_dim=recorded.get("embed_dim", 8),
        temperature=recorded.get("temp", 0.07),
        queue_size=recorded.get("queue_size", 8),
        momentum=recorded.get("momentum", 0.995),
        decoder_layers=recorded.get("text_decoder", {}).get("num_hidden_layers", 6),
    )


def vision_of(vit: dict) -> VisionConfig:
    return VisionConfig(
        image_size=vit["image_res"],
        patch_size=vit["patch_size"],
        width=vit["embed_dim"],
        depth=vit["depth"],
        num_heads=vit["num_heads"],
        mlp_ratio=vit["mlp_ratio"],
        layer_norm_eps=vit["layer_norm_eps"],
    )


def text_of(bert: dict) -> TextConfig:
    return TextConfig(
        vocab_size=bert["vocab_size"],
        hidden_size=bert["hidden_size"],
        num_layers=bert["num_hidden_layers"],
        fusion_layer=bert["fusion_layer"],
        num_heads=bert["num_attention_heads"],
        intermediate_size=bert["intermediate_size"],
        hidden_act=bert["hidden_act"],
        hidden_dropout=bert["hidden_dropout_prob"],
        attention_dropout=bert["attention_probs_dropout_prob"],
        max_positions=bert["max_position_embeddings"],
        token_types=bert["type_vocab_size"],
        layer_norm_eps=bert["layer_norm_eps"],
    )


def tensors(arrays: dict[str, np.ndarray], *names: str) -> list[paddle.Tensor]:
    """The named arrays as Paddle tensors."""
    return [paddle.to_tensor(arrays[name]) for name in names]


def fill(layer: paddle.nn.Layer, arrays: dict[str, np.ndarray]) -> None:
    """Give `layer` exactly these arrays: none missing, none left over, every shape right."""
    state = layer.state_dict()
    assert set(state) == set(arrays), f"missing {set(state) - set(arrays)}, left over {set(arrays) - set(state)}"
    for name, tensor in state.items():
        assert list(tensor.shape) == list(arrays[name].shape), name
        tensor.set_value(np.asarray(arrays[name], order="C"))


def fill_from_original(model: paddle.nn.Layer, recorded, config: AlbefConfig, weights=None) -> None:
    """Give `model` the weights of a recorded case."""
    converted = convert_albef_weights(recorded.weights if weights is None else weights, config)
    assert converted.unmapped == []
    fill(model, converted.tensors)


def retrieval_model(recorded) -> AlbefForRetrieval:
    """The retrieval model with the weights of a recorded case, in evaluation mode."""
    config = config_of(recorded.config)
    model = AlbefForRetrieval(config)
    load_tensors(model, convert_albef_weights(recorded.weights, config).tensors, "recorded", may_miss=())
    model.eval()
    return model


def itc_arrays(
    own: UnimodalOutput, teacher: UnimodalOutput, itc: ItcOutput, itm: ItmOutput
) -> dict[str, paddle.Tensor]:
    """What lies between in ITC and ITM, by its recorded name."""
    return {
        "image_feat": own.image_features,
        "text_feat": own.text_features,
        "image_feat_m": teacher.image_features,
        "text_feat_m": teacher.text_features,
        "sim_i2t": itc.image_to_text,
        "sim_t2i": itc.text_to_image,
        "sim_i2t_targets": itc.image_targets,
        "sim_t2i_targets": itc.text_targets,
        "loss_i2t": soft_target_cross_entropy(itc.image_to_text, itc.image_targets),
        "loss_t2i": soft_target_cross_entropy(itc.text_to_image, itc.text_targets),
        "weights_i2t": hard_negative_weights(itc.image_to_text_within, itc.positives),
        "weights_t2i": hard_negative_weights(itc.text_to_image_within, itc.positives),
        "vl_output": itm.logits,
    }


def original_state(model: paddle.nn.Layer, config: AlbefConfig) -> dict[str, np.ndarray]:
    """The model's tensors under the original's names."""
    return to_original({name: tensor.numpy() for name, tensor in model.state_dict().items()}, config)


def original_gradients(model: paddle.nn.Layer, config: AlbefConfig) -> dict[str, np.ndarray]:
    """Gradients under the original's names; no entry where there is none."""
    state = dict(model.named_parameters())
    filled = {name: p.grad.numpy() if p.grad is not None else np.full(p.shape, np.nan) for name, p in state.items()}
    return {name: value for name, value in to_original(filled, config).items() if not np.isnan(value).all()}


def check_gradients(model: paddle.nn.Layer, config: AlbefConfig, expected: dict[str, np.ndarray]) -> None:
    """Every recorded `grad.*`: largest difference within 2e-4 of its largest entry + 1e-6."""
    gradients, checked = original_gradients(model, config), 0
    for name, value in expected.items():
        if name.startswith("grad."):
            allowed = 2e-4 * np.abs(value).max() + 1e-6
            difference = np.abs(gradients[name[5:]] - value).max()
            assert difference <= allowed, f"{name}: {difference} > {allowed}"
            checked += 1
    assert checked


def check_momentum(model: paddle.nn.Layer, config: AlbefConfig, expected: dict[str, np.ndarray]) -> None:
    """Every recorded `momentum_after.*`."""
    state, checked = original_state(model, config), 0
    for name, value in expected.items():
        if name.startswith("momentum_after."):
            np.testing.assert_allclose(state[name[15:]], value, rtol=0, atol=1e-6, err_msg=name)
            checked += 1
    assert checked


def masked(arrays, recorded) -> tuple[np.ndarray, np.ndarray]:
    """Masked ids and labels by the recorded draws."""
    probability = recorded["mlm_probability"]
    share = np.where(arrays["mlm_draw_replaced"], 0.0, np.where(arrays["mlm_draw_random"], 0.85, 0.95))
    chance = np.where(arrays["mlm_draw_masked"], share * probability, 1.0)
    ids = arrays["input_ids"]
    candidates = (ids != 0) & (ids != 101)
    draws = MaskDraws(chance[candidates], arrays["mlm_random_words"][candidates])
    return mask_words(ids, candidates, draws, 103, probability)
