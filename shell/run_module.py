"""Run a module as `python -m` does, but never from the caller's folder:  run_module.py MODULE [ARGUMENT …]

`python -m` looks for every module in the current folder first: a `paddle.py` or `yaml.py` there would be executed.
"""

import os.path
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib must not be looked for yet
    sys.path[:] = [folder for folder in sys.path if folder not in ("", here)]
    del sys.argv[0]

    import runpy

    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
