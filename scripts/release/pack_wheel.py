"""Packs built programs as a wheel, and prints its path: pack_wheel.py --programs DIR [--platform NAME]

In the wheel they are in mlxbench/bin. Their rpaths lead to the libraries of the wheels that it requires,
`torch` and `mlx`, which pip unpacks beside it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".native" / "release"))
sys.path.insert(0, str(ROOT / "scripts" / "native"))

import contents  # noqa: E402
import install  # noqa: E402
from wheel.wheelfile import WheelFile  # noqa: E402

# The frameworks' packages; what torch requires itself comes with it.
REQUIRED = re.compile(r"torch|mlx-(cpu|metal)|scipy-openblas32")
MACOS = re.compile(r'^MACOSX_DEPLOYMENT_TARGET = "(\d+)\.(\d+)"', re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, required=True, help="the folder of the built programs")
    parser.add_argument("--platform", default=install.this_platform(), help="a name in wheels.json")
    parser.add_argument("--into", type=Path, default=ROOT / "target" / "wheels", help="the wheel's folder")
    options = parser.parse_args()
    pins = json.loads(install.PINS.read_text())
    if options.platform not in pins:
        raise install.Failure(f"no wheels of PyTorch and MLX are pinned for {options.platform}")
    missing = [name for name in contents.PROGRAMS if not (options.programs / name).is_file()]
    if missing:
        raise install.Failure(f"{options.programs} has no {', '.join(missing)}: run scripts/release/wheel without options")
    version = workspace_version()
    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        package(tree / "mlxbench", options.programs, options.platform)
        tag = f"py3-none-{platform_tag(options.platform, tree / 'mlxbench' / 'bin')}"
        requires = [f"{pin['package']}=={pin['version']}" for pin in pins[options.platform]["wheels"]
                    if REQUIRED.fullmatch(pin["package"])]
        describe(tree / f"mlxbench-{version}.dist-info", version, tag, requires)
        path = options.into / f"mlxbench-{version}-{tag}.whl"
        path.unlink(missing_ok=True)
        with WheelFile(path, "w") as wheel:
            wheel.write_files(tree)
    print(path)


def package(folder, programs, platform):
    """Lays out what is installed as the package's folder."""
    shutil.copytree(ROOT / "scripts" / "release" / "python" / "mlxbench", folder,
                    ignore=shutil.ignore_patterns("__pycache__"))
    linux = platform.startswith("linux")
    contents.lay_out(programs, folder, linux)
    # On macOS the facts for debuggers are in files of their own.
    if linux:
        subprocess.run(["strip", *(folder / "bin").iterdir()], check=True)


def platform_tag(platform, programs):
    """The oldest system that the programs run on, as PEP 600 and PEP 425 write it."""
    if platform == "macos-arm64":
        major, minor = MACOS.search((ROOT / ".cargo" / "config.toml").read_text()).groups()
        return f"macosx_{major}_{minor}_arm64"
    newest = 17
    for program in programs.iterdir():
        listed = subprocess.run(["readelf", "--version-info", program], check=True, stdout=subprocess.PIPE, text=True)
        newest = max([newest, *(int(minor) for minor in re.findall(r"\bGLIBC_2\.(\d+)", listed.stdout))])
    return f"manylinux_2_{newest}_{platform.removeprefix('linux-')}"


def describe(folder, version, tag, requires):
    """Writes the facts about the package that installers read (PyPA's core metadata 2.4)."""
    (folder / "licenses").mkdir(parents=True)
    contents.copy_licenses(folder / "licenses")
    headers = [
        ("Metadata-Version", "2.4"),
        ("Name", "mlxbench"),
        ("Version", version),
        ("Summary", "How fast, how lean and how right is Gemma under PyTorch, MLX and candle on this machine?"),
        ("License-Expression", "MIT OR Apache-2.0"),
        *(("License-File", license) for license in contents.LICENSES),
        ("Requires-Python", ">=3.9"),
        *(("Requires-Dist", requirement) for requirement in requires),
        ("Description-Content-Type", "text/markdown"),
    ]
    text = "".join(f"{name}: {value}\n" for name, value in headers)
    (folder / "METADATA").write_text(f"{text}\n{(ROOT / 'README.md').read_text()}")
    (folder / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: mlxbench scripts/release/wheel\nRoot-Is-Purelib: false\nTag: {tag}\n")
    (folder / "entry_points.txt").write_text("[console_scripts]\nmlxbench = mlxbench.__main__:main\n")


def workspace_version():
    listed = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"], check=True,
                            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    return next(package["version"] for package in json.loads(listed.stdout)["packages"] if package["name"] == "mlxbench")


try:
    main()
except (install.Failure, OSError, subprocess.CalledProcessError) as failure:
    sys.exit(f"wheel: {failure}")
