"""Configurations: dataclasses filled from YAML files, value conversion and checks, and the command line over them."""

from pyutils.config.loading import Override, describe, load_config, setting, to_yaml

__all__ = ["Override", "describe", "load_config", "setting", "to_yaml"]
