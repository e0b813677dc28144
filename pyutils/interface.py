"""What `from pyutils import …` offers."""

from pyutils.config import load_config
from pyutils.engine.opening import load_task
from pyutils.engine.pipeline import pipeline
from pyutils.engine.trainer import Trainer

__all__ = ["Trainer", "load_config", "load_task", "pipeline"]
