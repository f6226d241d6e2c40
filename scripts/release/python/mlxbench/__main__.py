"""Starts the program `mlxbench` in place of this process."""

import os
import platform
import sys
from pathlib import Path


def main():
    linux_x86 = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    # As scripts/native/setup, which a wheel has no part in.
    if linux_x86 and not {"avx2", "fma", "f16c", "bmi2"} <= set(Path("/proc/cpuinfo").read_text().split()):
        sys.exit("mlxbench: this CPU lacks AVX2, FMA, F16C or BMI2, which the programs need: "
                 "build them in a checkout, with target-cpu taken out of .cargo/config.toml")
    program = Path(__file__).resolve().parent / "bin" / "mlxbench"
    try:
        os.execv(program, [str(program), *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"mlxbench: {program} can't be started ({error.strerror}): install the package again")


if __name__ == "__main__":
    main()
