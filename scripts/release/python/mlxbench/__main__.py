"""Starts the program `mlxbench` in place of this process."""

import os
import platform
import sys
from pathlib import Path


def main():
    linux_x86 = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    # For which .cargo/config.toml compiles them.
    if linux_x86 and not {"avx2", "fma", "f16c", "bmi2"} <= set(Path("/proc/cpuinfo").read_text().split()):
        sys.exit("mlxbench: this CPU lacks AVX2, FMA, F16C or BMI2, for which the programs are compiled: "
                 "build mlxbench yourself")
    program = Path(__file__).resolve().parent / "bin" / "mlxbench"
    try:
        os.execv(program, [str(program), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"mlxbench: {program} can't be started ({error.strerror}): install the package again")


if __name__ == "__main__":
    main()
