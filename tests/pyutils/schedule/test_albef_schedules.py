"""ALBEF's schedules against recorded rates of the original, settings by settings."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.schedule import EpochConfig, ScheduleConfig, build_schedule
from pyutils.schedule.albef import EpochSchedule, PlateauSchedule, noise_of
from tests.support import golden

CASES = {case["name"]: case for case in golden("albef/sched").json("cases.json")}
NAMES = {
    "lr_cycle_mul": "cycle_mul",
    "lr_cycle_limit": "cycle_limit",
    "lr_noise_pct": "noise_pct",
    "seed": "noise_seed",
}
SAME = ("min_lr", "warmup_lr", "warmup_epochs", "decay_rate", "decay_epochs", "patience_epochs", "cooldown_epochs")


def config(args):
    """EpochConfig of the recorded arguments; cycles end after one unless the case says otherwise."""
    fields = {key: args[key] for key in SAME if key in args}
    fields.update({NAMES[key]: args[key] for key in NAMES if key in args})
    if "lr_noise" in args:
        fields["noise"] = args["lr_noise"] if isinstance(args["lr_noise"], list) else [args["lr_noise"]]
    return EpochConfig(**fields, higher_is_better="loss" not in args.get("eval_metric", "top1"))


def schedule_of(case, lr, steps_per_epoch=1000):
    args = case["args"]
    cfg = config(args)
    noise = noise_of(cfg, args["epochs"])
    if "noise" in case:
        object.__setattr__(noise, "draws", lambda epoch: iter(case["noise"][str(epoch)]["draws"]))
    if args["sched"] == "plateau":
        return PlateauSchedule(lr, cfg, noise)
    return EpochSchedule(args["sched"], lr, args["epochs"], steps_per_epoch, cfg, noise)


@pytest.mark.parametrize("name", sorted(CASES))
def test_rates_by_epoch(name):
    case = CASES[name]
    for group, lr in enumerate(case["base_lrs"]):
        schedule = schedule_of(case, lr)
        rates = []
        for index, epoch in enumerate(case["steps"]):
            if isinstance(schedule, PlateauSchedule):
                schedule.set_epoch(epoch, case["metrics"][index])
                rates.append(schedule.rate(0))
            else:
                rates.append(schedule.epoch_rate(epoch))
        np.testing.assert_allclose(rates, [row[group] for row in case["lr"]], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if "training_script" in case))
def test_rates_by_step_as_the_training_scripts_set_them(name):
    case = CASES[name]
    warmup, epochs = case["args"]["warmup_epochs"], case["training_script"]["lr_of_epoch"]
    per_epoch = warmup * 100 + 50
    schedule = schedule_of(case, case["base_lrs"][0], per_epoch)
    assert schedule.rate(0) == case["lr_after_create"][0]
    after_block = [schedule.rate(100 * block + 1) for block in range(warmup + 1)]
    np.testing.assert_allclose(after_block, case["training_script"]["warmup_step_lr"], rtol=1e-9, atol=0)
    assert schedule.rate(100) == after_block[0]
    ends = [schedule.rate(per_epoch * (epoch + 1) - 1) for epoch in range(len(epochs))]
    np.testing.assert_allclose(ends, epochs, rtol=1e-9, atol=0)
    assert [schedule.rate(per_epoch * epoch) for epoch in range(1, len(epochs))] == ends[1:]


def test_recorded_noise_only_uses_draws_that_fit():
    case = CASES["cosine_noise"]
    schedule = schedule_of(case, case["args"]["lr"])
    plain = EpochSchedule("cosine", case["args"]["lr"], case["args"]["epochs"], 1000, schedule.cfg)
    last = max(map(int, case["noise"]))
    assert schedule.epoch_rate(last) != plain.epoch_rate(last)
    assert schedule.epoch_rate(last + 1) == plain.epoch_rate(last + 1)


def test_own_noise_is_repeatable_and_bounded():
    noise = noise_of(EpochConfig(noise=[0.0], noise_seed=7), 10)
    assert noise.factor(3) == noise.factor(3) != 1.0
    cfg = ScheduleConfig(name="albef_cosine", albef=EpochConfig(noise=[0.0], noise_pct=0.1, warmup_epochs=0))
    schedule = build_schedule(cfg, 300, 10, 1e-3)
    plain = build_schedule(ScheduleConfig(name="albef_cosine", albef=EpochConfig(warmup_epochs=0)), 300, 10, 1e-3)
    ratios = [schedule.rate(step) / plain.rate(step) for step in range(10, 300, 10)]
    assert max(abs(ratio - 1.0) for ratio in ratios) < 0.1
    assert len(set(ratios)) > 20


def test_short_first_epoch_warns_and_says_what_to_set():
    cfg = ScheduleConfig(name="albef_cosine", albef=EpochConfig(warmup_epochs=4))
    with pytest.warns(UserWarning, match=r"60 steps.*4 x 100.*warmup_block to 14"):
        schedule = build_schedule(cfg, 480, 60, 2e-5)
    assert schedule.rate(59) < 2e-5
    fitting = ScheduleConfig(name="albef_cosine", albef=EpochConfig(warmup_epochs=4, warmup_block=14))
    assert build_schedule(fitting, 480, 60, 2e-5).rate(59) == 2e-5


def test_built_schedule_is_the_recorded_one():
    case = CASES["VQA.yaml"]
    cfg = ScheduleConfig(name="albef_cosine", albef=config(case["args"]))
    epochs, length = case["args"]["epochs"], 100 * case["args"]["warmup_epochs"] + 100
    schedule = build_schedule(cfg, epochs * length, length, case["args"]["lr"])
    rates = [schedule.rate(length * epoch + length - 1) for epoch in range(epochs)]
    np.testing.assert_allclose(rates, case["training_script"]["lr_of_epoch"], rtol=1e-9)


def test_plateau_goes_on_where_it_was_saved():
    cfg = ScheduleConfig(
        name="albef_plateau", albef=EpochConfig(warmup_epochs=1, warmup_lr=0.1, patience_epochs=0, decay_rate=0.5)
    )
    schedule = build_schedule(cfg, 100, 10, 1.0)
    seen = [schedule.rate(0)]
    for metric in (0.5, 0.5, 0.5, 0.5):
        schedule.observe(metric)
        resumed = build_schedule(cfg, 100, 10, 1.0)
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed
        seen.append(schedule.rate(0))
    assert seen == [0.1, 1.0, 1.0, 0.5, 0.25]
