"""Learning-rate schedules: pure functions of the step, and the few that keep a state.

schedule = build_schedule(ScheduleConfig(name="linear", warmup=0.1), total_steps, steps_per_epoch, lr=2e-5)
optimizer.set_lr(schedule.rate(step))
"""

from __future__ import annotations

from pyutils.schedule.albef import EpochSchedule, PlateauSchedule
from pyutils.schedule.build import build_schedule
from pyutils.schedule.config import SCHEDULES, EpochConfig, ScheduleConfig
from pyutils.schedule.plateau import StopAndGo
from pyutils.schedule.schedule import Schedule

__all__ = [
    "SCHEDULES",
    "EpochConfig",
    "EpochSchedule",
    "PlateauSchedule",
    "Schedule",
    "ScheduleConfig",
    "StopAndGo",
    "build_schedule",
]
