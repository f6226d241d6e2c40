"""Whether builds for NVIDIA GPUs can run on this machine, and for which GPU they are compiled."""

import os
import re
import shutil
import subprocess

# What the CUDA 13 of wheels.json needs: a driver, and a GPU (Turing, of 2018).
OLDEST_DRIVER = 580
OLDEST_CAPABILITY = 75


class Unusable(Exception):
    """Why they can't, and what to do, in one line."""


def capability(say):
    """The compute capability to compile for, `90` for 9.0: CUDA_COMPUTE_CAP, or the first GPU's.

    With CUDA_COMPUTE_CAP this machine needs no GPU; what it lacks is said.
    """
    given = os.environ.get("CUDA_COMPUTE_CAP")
    if given and not re.fullmatch("[0-9]{2,3}[af]?", given):
        raise Unusable(f"CUDA_COMPUTE_CAP={given} is no compute capability as nvcc writes it: 90 for 9.0")
    try:
        found = first_gpu()
    except Unusable as reason:
        if not given:
            raise Unusable(f"{reason}; or, to build for another machine, name its GPU's compute capability "
                           "(an H100's: CUDA_COMPUTE_CAP=90 scripts/setup --cuda)") from reason
        say(f"{reason}, if what is built for compute capability {given} is to run here")
        return given
    return given or found


def first_gpu():
    """The compute capability of the first GPU; raises Unusable."""
    if not shutil.which("nvidia-smi"):
        raise Unusable(f"no NVIDIA driver is here (no nvidia-smi): install {OLDEST_DRIVER} or newer")
    query = ["nvidia-smi", "--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader"]
    answer = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = answer.stdout.strip().splitlines() or ["it says nothing"]
    if "compute_cap" in lines[0]:
        # Drivers before 510 don't know this question, and repeat it.
        raise Unusable(f"NVIDIA's driver is too old for CUDA 13: update it to {OLDEST_DRIVER} or newer")
    if answer.returncode != 0 or lines[0].count(",") < 2:
        raise Unusable(f"nvidia-smi shows no GPU ({lines[0]}): see that it does")
    driver, found, name = (part.strip() for part in lines[0].split(",", 2))
    if int(driver.split(".")[0]) < OLDEST_DRIVER:
        raise Unusable(f"NVIDIA's driver {driver} is too old for CUDA 13: update it to {OLDEST_DRIVER} or newer")
    if int(found.replace(".", "")) < OLDEST_CAPABILITY:
        raise Unusable(f"{name} is too old for CUDA 13: use a GPU of compute capability 7.5 or newer, not {found}")
    return found.replace(".", "")
