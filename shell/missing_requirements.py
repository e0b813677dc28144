"""Print the requirements that this Python does not meet:  missing_requirements.py FILE [REQUIREMENT …]"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement  # the one copy that every Python with pip has


def is_met(requirement: Requirement) -> bool:
    """Check the installed version; a requirement whose marker is not for this Python counts as met."""
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    lines = [line.partition("#")[0].strip() for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in [*lines, *sys.argv[2:]] if line]
    print(" ".join(line.replace(" ", "") for line in wanted if not is_met(Requirement(line))))
