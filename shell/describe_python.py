"""Print the installed Paddle, such as "paddlepaddle 3.3.1", without importing it."""

from importlib.metadata import distributions

if __name__ == "__main__":
    named = {(one.metadata["Name"] or "").lower(): one.version for one in distributions()}
    found = sorted(f"{name} {number}" for name, number in named.items() if name.startswith("paddlepaddle"))
    print(", ".join(found) or "no Paddle")
