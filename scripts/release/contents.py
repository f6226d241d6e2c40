"""What a release holds, as an archive and as a wheel: contents.py PROGRAMS FOLDER lays it out in FOLDER.

PROGRAMS is the folder of the built programs.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ["mlxbench", "mlxbench-gguf", "mlxbench-worker-candle", "mlxbench-worker-mlx", "mlxbench-worker-openai",
            "mlxbench-worker-tch"]
SCRIPTS = ["fetch-gemma3-270m", "fetch-gemma3-270m-gguf"]
LICENSES = ["LICENSE-APACHE", "LICENSE-MIT"]
# Configs that need what a release hasn't: peers are built from a checkout.
UNFIT_CONFIGS = {"peers.toml", "cuda-peers.toml", "lora-peers.toml", "ci.toml"}
# Linux alone has it. It takes a linker to make, and leads to the package scipy-openblas32.
OPENBLAS = Path(".native/lib/mlx/lib/libopenblas.so.0")


def lay_out(programs, folder, linux):
    """Copies programs, of Linux or of macOS, with scripts and configs to where `mlxbench` looks for them."""
    for kind, names, source in [("bin", PROGRAMS, programs), ("scripts", SCRIPTS, ROOT / "scripts")]:
        (folder / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / name, folder / kind / name)
    shutil.copytree(ROOT / "bench-configs", folder / "bench-configs",
                    ignore=lambda _, names: UNFIT_CONFIGS & set(names))
    if linux:
        (folder / OPENBLAS).parent.mkdir(parents=True)
        shutil.copy(ROOT / OPENBLAS, folder / OPENBLAS)


def copy_licenses(folder):
    """Copies the licences, which go wherever the programs go."""
    for license in LICENSES:
        shutil.copy(ROOT / license, folder)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]), Path(sys.argv[2]), sys.platform == "linux")
    copy_licenses(Path(sys.argv[2]))
