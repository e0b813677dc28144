"""Schedules by step against recorded rates of the originals."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.schedule import ScheduleConfig, StopAndGo, build_schedule
from tests.support import golden

RECORDED = golden("vilbert/optim").json("lr_schedules.json")
SETTINGS = {
    "concap_warmup_linear": {"name": "linear", "first_step": 1},
    "warmup_linear": {"name": "linear"},
    "warmup_constant": {"name": "constant"},
    "train_tasks_warmup_linear": {"name": "linear"},
    "train_tasks_mannul": {"name": "vilbert_original", "milestones": [5, 7], "gamma": 0.2},
    "refcoco_finetune": {"name": "milestones", "milestones": [12, 16], "gamma": 0.1, "first_step": 1},
    "refcoco_from_scratch": {"name": "milestones", "milestones": [12, 16], "gamma": 0.1, "first_step": 1},
}


@pytest.mark.parametrize("case", sorted(RECORDED))
def test_rates_are_those_of_the_original(case):
    recorded = RECORDED[case]
    settings = dict(SETTINGS[case])
    per_epoch = recorded.get("iters_per_epoch", 47)
    if "warmup_proportion" in recorded:
        settings["warmup"] = recorded["warmup_proportion"]
    total = recorded.get("t_total") or per_epoch * recorded.get("epochs", 1)
    if "warmup_steps" in recorded:
        settings["warmup_steps"] = recorded["warmup_steps"]
    schedule = build_schedule(ScheduleConfig(**settings), total, per_epoch, recorded["base_lr"])
    rates = [schedule.rate(step) for step in range(len(recorded["rates"]))]
    np.testing.assert_allclose(rates, recorded["rates"], rtol=1e-9, atol=0)


def test_every_recorded_schedule_is_tested():
    assert set(SETTINGS) == set(RECORDED)


# README: warmup 0.1, t_total 23 (20 in the visible set), 0 past the end: the arrays are 4 longer.
TOTAL = len(golden("visualbert/optimizer").outputs["schedule"]) - 4


def test_bert_adam_schedule_is_that_of_the_authors():
    schedule = build_schedule(ScheduleConfig(name="bert_adam", warmup=0.1), total_steps=TOTAL, steps_per_epoch=5)
    recorded = golden("visualbert/optimizer").outputs["schedule"]
    np.testing.assert_allclose([schedule.rate(step) for step in range(len(recorded))], recorded, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", ["pretrain", "vqa"])
def test_rates_of_the_recorded_visualbert_runs(case):
    settings = golden(f"visualbert/curve/{case}").json("settings.json")
    schedule = build_schedule(ScheduleConfig(name="bert_adam"), 100, 5, settings["learning_rate"])
    np.testing.assert_allclose(
        [schedule.rate(i) for i in range(100)], golden(f"visualbert/curve/{case}").outputs["lr"], rtol=1e-6
    )


def test_cosine_by_iteration_rises_falls_and_ends_at_the_minimum():
    schedule = build_schedule(ScheduleConfig(name="cosine", warmup_steps=10, min_lr=1e-6), 110, 11, 1e-4)
    assert schedule.rate(0) == 0.0
    assert schedule.rate(5) == pytest.approx(5e-5)
    assert schedule.rate(10) == pytest.approx(1e-4)
    assert schedule.rate(60) == pytest.approx((1e-4 + 1e-6) / 2)
    assert schedule.rate(110) == schedule.rate(500) == pytest.approx(1e-6)


def test_warmup_can_be_given_in_epochs():
    schedule = build_schedule(ScheduleConfig(name="constant", warmup_epochs=2), 100, 10)
    assert schedule.rate(10) == pytest.approx(0.5)
    assert schedule.rate(20) == 1.0


def test_unknown_name_names_the_nearest():
    with pytest.raises(InputError, match=r"name: .*'linaer'.*\"linear\""):
        ScheduleConfig(name="linaer")


def test_a_warmup_over_one_is_an_error():
    with pytest.raises(InputError, match=r"warmup: .*at most 1.*found 10"):
        ScheduleConfig(warmup=10.0)
    assert ScheduleConfig(warmup=10.0, warmup_steps=100).warmup_steps == 100


@pytest.mark.parametrize("case", ["test_controller", "train_tasks"])
def test_stop_and_go_follows_the_original_even_when_resumed(case):
    recorded = golden("vilbert/optim").json("stop_controller.json")[case]
    settings = {key: value for key, value in recorded["arguments"].items() if key != "mode"}
    controller = StopAndGo(**settings)
    for score, stopped, best, bad_scores, cooling in recorded["trace"]:
        resumed = StopAndGo()
        resumed.load_state_dict(controller.state_dict())
        controller = resumed
        assert controller.observe(score) is stopped
        assert (controller.best, controller.bad_scores, controller.cooling) == (best, bad_scores, cooling)
