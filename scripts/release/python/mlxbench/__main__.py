"""Starts the program `mlxbench` in place of this process."""

import os
import platform
import sys
from pathlib import Path


def main():
    linux_x86 = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    # For which .cargo/config.toml compiles them.
    if linux_x86 and " avx2 " not in Path("/proc/cpuinfo").read_text():
        sys.exit("mlxbench: this CPU has no AVX2, which the programs are compiled for: build mlxbench yourself")
    program = Path(__file__).resolve().parent / "bin" / "mlxbench"
    try:
        os.execv(program, [str(program), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"mlxbench: {program} can't be started ({error.strerror}): install the package again")


if __name__ == "__main__":
    main()
