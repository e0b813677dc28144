"""Packages of the distribution; everything else is in pyproject.toml.

The recipes in configs/<model> become the package <model>_paddle.configs, so that a wheel carries them.
"""

from setuptools import find_packages, setup

MODELS = ("albef", "vilbert", "visualbert")
CODE = find_packages(include=["pyutils*", *(f"{model}_paddle*" for model in MODELS)])
RECIPES = {f"{model}_paddle.configs": f"configs/{model}" for model in MODELS}

setup(packages=[*CODE, *RECIPES], package_dir=RECIPES)
