"""Build an optimizer from its configuration and the named parameters of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pyutils.errors import InputError, nearest
from pyutils.optim.adafactor import Adafactor
from pyutils.optim.adahessian import AdaHessian, HessianOptimizer
from pyutils.optim.adam import Adam, AdamW, BertAdam, TransformersAdamW
from pyutils.optim.base import Optimizer, Trained
from pyutils.optim.config import OptimizerConfig
from pyutils.optim.lookahead import Lookahead, OriginalLookahead
from pyutils.optim.mean_square import Adadelta, RMSprop, TensorFlowRMSprop
from pyutils.optim.momentum import SGD, Momentum
from pyutils.optim.novograd import NovoGrad, NvNovoGrad, OriginalNovoGrad
from pyutils.optim.projected import SGDP, AdamP
from pyutils.optim.rectified import NAdam, OriginalRAdam, RAdam
from pyutils.optim.rule import UpdateRule

if TYPE_CHECKING:
    from paddle import Tensor

RULES: dict[str, type[UpdateRule]] = {
    "adafactor": Adafactor,
    "adadelta": Adadelta,
    "adahessian": AdaHessian,
    "adam": Adam,
    "adamp": AdamP,
    "adamw": AdamW,
    "adamw_transformers": TransformersAdamW,
    "bert_adam": BertAdam,
    "momentum": Momentum,
    "nadam": NAdam,
    "novograd": NovoGrad,
    "novograd_original": OriginalNovoGrad,
    "nvnovograd": NvNovoGrad,
    "radam": RAdam,
    "radam_original": OriginalRAdam,
    "rmsprop": RMSprop,
    "rmsprop_tf": TensorFlowRMSprop,
    "sgd": SGD,
    "sgdp": SGDP,
}
ALIASES = {"nesterov": "sgd", "rmsproptf": "rmsprop_tf"}
LOOKAHEADS: dict[str, type[Lookahead]] = {"lookahead_original_": OriginalLookahead, "lookahead_": Lookahead}


def build_optimizer(cfg: OptimizerConfig, named_parameters: Mapping[str, Tensor]) -> Optimizer:
    """Return the optimizer of `cfg` over the trainable ones of `named_parameters` (structured name -> parameter).

    Parameters with `stop_gradient` and those that match `cfg.frozen` are left out; a tensor under several names counts
    once, under its first.

    Raises:
        InputError: an unknown rule or option, no learning rate, a pattern without a match, nothing to train.
    """
    rule = build_rule(cfg)
    clip = rule.default_clip if cfg.clip == "default" else cfg.clip
    kind = HessianOptimizer if isinstance(rule, AdaHessian) else Optimizer
    return kind(rule, trained_parameters(cfg, named_parameters), cfg.lr, clip=clip, clip_norm=cfg.clip_norm)


def build_rule(cfg: OptimizerConfig) -> UpdateRule:
    """Return the update rule of `cfg.name` with its hyper-parameters; `lookahead_<rule>` wraps another one."""
    name = cfg.name.lower()
    prefix = next((prefix for prefix in LOOKAHEADS if name.startswith(prefix)), "")
    name = name[len(prefix) :]
    name = ALIASES.get(name, name)
    if name not in RULES or (prefix and name == "adahessian"):
        raise InputError(f"optimizer.name: unknown {cfg.name!r}: {nearest(name, [*RULES, *ALIASES])}")
    if cfg.lr is None and name != "adafactor":
        raise InputError(f"optimizer.lr: {cfg.name} needs a learning rate; only adafactor finds its own")
    outer = {key: value for key, value in cfg.options.items() if prefix and key in ("alpha", "k")}
    inner = {key: value for key, value in cfg.options.items() if key not in outer}
    rule = RULES[name](**_hyperparameters(cfg, name, inner))
    return LOOKAHEADS[prefix](rule, **outer) if prefix else rule


def _hyperparameters(cfg: OptimizerConfig, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the rule `name`: the fields of `cfg` that it has, and all of `options`."""
    known = [item.name for item in fields(RULES[name])]
    common = {"betas": cfg.betas and tuple(cfg.betas), "eps": cfg.eps, "momentum": cfg.momentum}
    chosen = {key: value for key, value in common.items() if key in known and value is not None}
    if "correct_bias" in known:
        chosen["correct_bias"] = cfg.correct_bias
    elif not cfg.correct_bias:
        raise InputError(f"optimizer.correct_bias: false needs optimizer.name adamw_transformers, found {cfg.name!r}")
    for option, value in options.items():
        if option not in known:
            raise InputError(f"optimizer.options: {cfg.name} has no {option!r}: {nearest(option, known)}")
        chosen[option] = value
    return chosen


def trained_parameters(cfg: OptimizerConfig, named_parameters: Mapping[str, Tensor]) -> list[Trained]:
    """Return the parameters to train with their learning-rate factor and weight decay, in the order given."""
    # A typing error in one of these would train what should be frozen, or train it at the wrong rate.
    for key in ("frozen", "lr_multipliers"):
        for pattern in getattr(cfg, key):
            if not any(re.search(pattern, name) for name in named_parameters):
                raise InputError(
                    f"optimizer.{key}: {pattern!r} matches no parameter: {nearest(pattern, named_parameters)}. Correct "
                    "or remove it."
                )
    trained, seen = [], set()
    for name, parameter in named_parameters.items():
        if parameter.stop_gradient or id(parameter) in seen or _matches(cfg.frozen, name):
            continue
        seen.add(id(parameter))
        factors = [factor for pattern, factor in cfg.lr_multipliers.items() if re.search(pattern, name)]
        decay = 0.0 if _matches(cfg.no_decay, name) else cfg.weight_decay
        trained.append(Trained(name, parameter, factors[-1] if factors else 1.0, decay))
    if not trained:
        raise InputError(
            f"nothing to train: optimizer.frozen {cfg.frozen} covers all {len(named_parameters)} parameters or none "
            "has a gradient"
        )
    return trained


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
