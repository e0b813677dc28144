"""Decay and rates of every parameter against the groups of the originals' scripts."""

from __future__ import annotations

import pytest

from pyutils.optim import OptimizerConfig
from pyutils.optim.build import trained_parameters
from tests.support import golden
from tests.vilbert_paddle.support import TASK_HEADS, pretraining_of, tasks_of
from vilbert_paddle.heads import HEADS, PRETRAINING
from vilbert_paddle.recipes import with_groups
from vilbert_paddle.weights import NAME_MAPS

GROUPS = golden("vilbert/optim").json("param_groups.json")
CASES = {
    "train_concap(from_pretrained, learning_rate=0.0001)": (PRETRAINING, 1e-4, "none"),
    "train_concap(no from_pretrained)": (PRETRAINING, 1e-4, "none"),
    "train_tasks(base_lr=0.001)": (HEADS, 1e-3, "original"),
    "train_tasks(base_lr=0.001, vision_scratch)": (HEADS, 1e-3, "everything"),
}


def groups(model, config):
    """Our name → (rate, decay)."""
    entries = trained_parameters(config, dict(model.named_parameters()))
    return {entry.name: (entry.lr_factor * config.lr, entry.weight_decay) for entry in entries}


def model_for(heads):
    return (pretraining_of("vilbert/pretrain_vt1") if heads is PRETRAINING else tasks_of("vilbert/vl_tasks"))[0]


@pytest.mark.parametrize("case", sorted(CASES))
def test_groups_of_the_original_scripts(case):
    heads, lr, rates = CASES[case]
    assert set(GROUPS) == set(CASES)
    model = model_for(heads)
    found = groups(model, with_groups(OptimizerConfig(lr=lr, weight_decay=0.01), heads, "original", rates))
    values = {name: value.numpy() for name, value in model.named_parameters()}
    expected = {name: (rate or lr, decay) for name, rate, decay in GROUPS[case]}
    for name, settings in found.items():
        (theirs,) = NAME_MAPS["authors"].to_theirs({name: values[name]}).tensors
        assert settings == pytest.approx(expected.pop(theirs)), name
    assert all("q_dense" in name for name in expected)  # nothing uses them


def test_default_decay_spares_every_norm():
    model = model_for(HEADS)
    found = groups(model, with_groups(OptimizerConfig(lr=4e-5, weight_decay=0.01), HEADS))
    for name, (_, decay) in found.items():
        assert (decay == 0.0) == (name.endswith("bias") or "norm." in name), name


def test_inverted_decay_is_the_complement_of_the_originals():
    model = model_for(HEADS)
    right, wrong = (
        groups(model, with_groups(OptimizerConfig(lr=4e-5, weight_decay=0.01), HEADS, rule))
        for rule in ("original", "inverted")
    )
    assert all((right[name][1] == 0.0) != (wrong[name][1] == 0.0) for name in right)


def test_new_heads_are_all_that_pretraining_lacks():
    model = model_for(HEADS)
    found = groups(model, with_groups(OptimizerConfig(lr=4e-5), HEADS))
    for name, (rate, _) in found.items():
        new = any(name.startswith(f"heads.{head}.") for head in TASK_HEADS if head != "alignment")
        assert rate == pytest.approx(1e-4 if new else 4e-5), name


def test_a_model_without_new_heads_needs_no_pattern():
    assert with_groups(OptimizerConfig(), PRETRAINING).lr_multipliers == {}
    assert with_groups(OptimizerConfig(), ["region"], rates="original").lr_multipliers == {}


def test_patterns_of_the_user_come_last():
    config = with_groups(OptimizerConfig(lr_multipliers={"^heads": 3.0}), ["region"])
    assert list(config.lr_multipliers)[-1] == "^heads"
