"""Starts the program `mlxbench` in place of this process."""

import os
import sys
from pathlib import Path


def main():
    program = Path(__file__).resolve().parent / "bin" / "mlxbench"
    try:
        os.execv(program, [str(program), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"mlxbench: {program} can't be started ({error.strerror}): install the package again")


if __name__ == "__main__":
    main()
