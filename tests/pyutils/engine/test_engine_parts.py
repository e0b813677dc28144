"""Precision, gathers, seeding, predictions and tables in one process."""

from __future__ import annotations

import pickle
import random
import warnings

import numpy as np
import paddle
import pytest

from pyutils import distributed
from pyutils.config.command_line import Run
from pyutils.console import markdown_table, write_table
from pyutils.engine import precision
from pyutils.engine.determinism import seed_step
from pyutils.engine.evaluation import evaluating, predict_all
from pyutils.engine.precision import LossScaler, autocast, gradients_are_finite
from pyutils.engine.predict import trained_config
from pyutils.engine.run import RunConfig
from pyutils.errors import InputError
from tests.pyutils.engine.toy import Network


def test_bf16_on_the_cpu_warns_once_and_stays_in_float32():
    precision._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="bf16 needs a GPU"), autocast("bf16"):
        assert paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype == paddle.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with autocast("bf16"):
            pass


def test_the_loss_scale_halves_on_overflow_and_gradients_are_unscaled(monkeypatch):
    monkeypatch.setattr(precision, "effective_precision", lambda name: name)
    scaler = LossScaler("fp16")
    weight = paddle.create_parameter([2], "float32", default_initializer=paddle.nn.initializer.Constant(1.0))
    scaler.scaled((weight * 3.0).sum()).backward()
    assert weight.grad.numpy().tolist() == [3.0 * 2**16] * 2
    assert scaler.unscale([weight])
    assert weight.grad.numpy().tolist() == [3.0, 3.0]
    scaler.update(False)
    assert scaler.scale == 2**15
    for _ in range(2000):
        scaler.update(True)
    assert scaler.scale == 2**16
    other = LossScaler("fp16")
    scaler.update(False)
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == {"scale": 2.0**15, "good_steps": 0}
    assert LossScaler("fp32").scaled(weight) is weight


def test_one_infinite_gradient_is_found():
    assert gradients_are_finite([]) and gradients_are_finite([paddle.ones([3])])
    assert not gradients_are_finite([paddle.ones([3]), paddle.to_tensor([1.0, float("inf")])])


def test_seeding_a_step_fixes_every_generator():
    def draw(*place):
        seed_step(*place)
        return random.random(), np.random.random(), paddle.rand([1]).item()  # noqa: NPY002

    first = draw(1, 5, 0)
    assert draw(1, 5, 0) == first
    for other in ((2, 5, 0), (1, 6, 0), (1, 5, 1)):
        assert all(a != b for a, b in zip(draw(*other), first))


def test_collectives_are_the_identity_in_one_process():
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.all_gather_objects({"a": [1]}) == [{"a": [1]}]
    assert distributed.all_reduce_sum({"x": 2.0}) == {"x": 2.0} and not distributed.any_process(False)


def test_predictions_are_ordered_by_index_and_may_be_ragged():
    loader = [{"index": paddle.to_tensor([2, 0])}, {"index": paddle.to_tensor([1])}]

    def predict(batch):
        index = batch["index"]
        return {"double": index * 2, "ragged": [np.arange(int(i)) for i in index.numpy()]}

    columns = predict_all(predict, loader)
    assert columns["double"].tolist() == [0, 2, 4]
    assert [len(item) for item in columns["ragged"]] == [0, 1, 2]


@pytest.mark.parametrize("indices", [[[0, 1], [1]], [[0, 2]]])
def test_records_met_twice_or_never_are_an_error(indices):
    with pytest.raises(RuntimeError, match="more than once or not at all"):
        predict_all(lambda batch: {"x": batch["index"]}, [{"index": paddle.to_tensor(i)} for i in indices])


def test_predictions_of_another_length_are_an_error():
    with pytest.raises(RuntimeError, match="x has 1 entries for 2 records"):
        predict_all(lambda batch: {"x": [1]}, [{"index": paddle.to_tensor([0, 1])}])


def test_evaluating_puts_every_mode_back():
    model = Network()
    model.train()
    model.drop.eval()
    with evaluating(model):
        assert not model.hidden.training
        assert model.hidden(paddle.ones([1, 6])).stop_gradient
    assert model.training and model.hidden.training and not model.drop.training


def test_a_table_of_metrics(tmp_path):
    rows = [{"task": "vqa", "accuracy": 0.51234}, {"task": "nlvr2", "consistency": 3}]
    text = markdown_table(rows)
    assert text.splitlines() == [
        "| task  | accuracy | consistency |",
        "| ----- | -------: | ----------: |",
        "| vqa   |   0.5123 |             |",
        "| nlvr2 |          |           3 |",
    ]
    write_table(tmp_path / "t.md", rows)
    assert (tmp_path / "t.md").read_text() == text


def test_a_recipe_may_inherit_its_task(tmp_path):
    (tmp_path / "base.yaml").write_text("task: toy\noutput_dir: somewhere\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\neval_split: test\n")

    class Toy:
        name = "toy"
        config_class = RunConfig

    task, config = trained_config(Run(None), tmp_path / "own.yaml", lambda name: {"toy": Toy}[name])
    assert (task, config.output_dir, config.eval_split) == (Toy, "somewhere", "test")
    with pytest.raises(InputError, match="has no `task`"):
        (tmp_path / "none.yaml").write_text("output_dir: x\n")
        trained_config(Run(None), tmp_path / "none.yaml", dict)


@pytest.mark.parametrize(("capability", "warns"), [((7, 0), True), ((7, 5), True), ((8, 0), False), ((9, 0), False)])
def test_bf16_on_a_gpu_without_bf16_units_recommends_fp16(monkeypatch, capability, warns):
    monkeypatch.setattr(precision.paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(precision, "gpu_capability", lambda: capability)
    precision._warn_once.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert precision.effective_precision("bf16") == "bf16" and precision.effective_precision("fp16") == "fp16"
    assert (
        [str(each.message) for each in caught if "precision=fp16" in str(each.message)] != [] if warns else not caught
    )


class _Runs:
    def __reduce__(self):
        return print, ("EXECUTED",)


@pytest.mark.parametrize("sent", [_Runs(), {"a": [_Runs()]}])
def test_nothing_is_executed_of_what_other_processes_send(monkeypatch, capsys, sent):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    other = np.frombuffer(pickle.dumps(sent), dtype=np.uint8)

    def gathered(own):
        if own.dtype == np.int64:
            return [own, np.array([other.size])]
        return [own, np.pad(other, (0, len(own) - len(other)))]

    monkeypatch.setattr(distributed, "_gather_equal", gathered)
    with pytest.raises(InputError, match=r"what process 1 sent: the pickle asks for .*print"):
        distributed.all_gather_objects({"a": list(range(100))})
    assert "EXECUTED" not in capsys.readouterr().out


def test_what_processes_exchange_comes_through_the_safe_loader(monkeypatch):
    value = [(np.arange(3), {"scores": np.ones((2, 4), "float32"), "answers": ["ja", "日本"], "n": np.int64(3)}), None]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "_gather_equal", lambda own: [own, own])
    for received in distributed.all_gather_objects(value):
        np.testing.assert_array_equal(received[0][1]["scores"], value[0][1]["scores"])
        assert received[0][1]["answers"] == ["ja", "日本"] and received[0][1]["n"] == 3 and received[1] is None
