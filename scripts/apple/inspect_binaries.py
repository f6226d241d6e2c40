"""Looks at the executables built for macOS: inspect_binaries.py FOLDER NATIVE MINIMUM_MACOS."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.argv[2]) / "tools"))

from macholib.mach_o import (  # noqa: E402
    CPU_TYPE_NAMES, LC_BUILD_VERSION, LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_RPATH, MH_EXECUTE,
    MH_NOUNDEFS)
from macholib.MachO import MachO  # noqa: E402

# What each executable links from the frameworks' wheels: executable, wheel's folder, libraries.
LIBRARIES = {
    "mlxbench": (None, set()),
    "mlxbench-gguf": (None, set()),
    "mlxbench-worker-mock": (None, set()),
    "mlxbench-worker-openai": (None, set()),
    "mlxbench-worker-candle": (None, set()),
    "mlxbench-worker-tch": ("torch", {"libtorch_cpu.dylib", "libc10.dylib"}),
    "mlxbench-worker-mlx": ("mlx", {"libmlx.dylib"}),
}
# Files beside the libraries that a run needs, by wheel.
BESIDE = {"torch": ["libomp.dylib"], "mlx": ["mlx.metallib"]}
SYSTEM = ("/usr/lib/", "/System/Library/Frameworks/")


class Executable:
    def __init__(self, path):
        [header] = MachO(str(path)).headers
        self.path, self.header = path, header.header
        self.loads, self.rpaths, self.minimum = [], [], None
        for load, command, data in header.commands:
            text = data.rstrip(b"\0").decode(errors="replace") if isinstance(data, bytes) else ""
            if load.cmd in (LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB):
                self.loads.append(text)
            elif load.cmd == LC_RPATH:
                self.rpaths.append(text)
            elif load.cmd == LC_BUILD_VERSION:
                self.minimum = f"{command.minos >> 16}.{command.minos >> 8 & 0xff}"


def faults(folder, native, minimum):
    for name, (wheel, expected) in LIBRARIES.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} was not built"
            continue
        executable = Executable(path)
        header = executable.header
        if (CPU_TYPE_NAMES.get(header.cputype), header.filetype) != ("ARM64", MH_EXECUTE):
            yield f"{name} is no executable for arm64"
        if not header.flags & MH_NOUNDEFS:
            yield f"{name} leaves symbols undefined"
        if executable.minimum != minimum:
            yield f"{name} needs macOS {executable.minimum}, not {minimum}"
        others = [load for load in executable.loads if not load.startswith(SYSTEM)]
        found = {os.path.basename(load) for load in others if load.startswith("@rpath/")}
        missing = expected - found
        if missing:
            yield f"{name} doesn't load {', '.join(sorted(missing))} by @rpath"
        for load in others:
            if not load.startswith("@rpath/"):
                yield f"{name} loads {load}, which no Mac has there"
        if wheel is None and others:
            yield f"{name} loads {', '.join(others)}, and should need system libraries only"
        if wheel is None:
            continue
        libraries = native / "lib" / wheel / "lib"
        for library in sorted(found):
            if not (libraries / library).is_file():
                yield f"{name} loads {library}, which {wheel}'s wheel doesn't have"
            yield from needs(libraries / library, libraries, name)
        # A checkout's target/release, its examples and tests, a release's bin; and the bin of a Python package.
        places = [f"{up}/.native" for up in ("..", "../..", "../../..")]
        for rpath in [f"@loader_path/{place}/lib/{wheel}/lib" for place in places] + [f"@loader_path/../../{wheel}/lib"]:
            if rpath not in executable.rpaths:
                yield f"{name} doesn't look into {rpath}: it has {executable.rpaths}"
        for rpath in executable.rpaths:
            if not rpath.startswith("@loader_path/"):
                yield f"{name} looks into {rpath}, a path of the machine that built it"
        for file in BESIDE[wheel]:
            if not (libraries / file).is_file():
                yield f"{file} isn't beside {wheel}'s libraries"


def needs(library, libraries, name):
    """Faults of the libraries that `library` loads by relative paths."""
    if not library.is_file():
        return
    for header in MachO(str(library)).headers:
        for load, _, data in header.commands:
            if load.cmd != LC_LOAD_DYLIB:
                continue
            path = data.rstrip(b"\0").decode()
            if path.startswith(("@rpath/", "@loader_path/")):
                if not (libraries / os.path.basename(path)).is_file():
                    yield f"{name}: {library.name} needs {path}, which isn't beside it"
            elif not path.startswith(SYSTEM):
                yield f"{name}: {library.name} needs {path}, which no Mac has there"


def main():
    folder, native, minimum = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    found = list(faults(folder, native, minimum))
    for fault in found:
        print(f"check-apple: {fault}", file=sys.stderr)
    if found:
        return 1
    for name in LIBRARIES:
        executable = Executable(folder / name)
        loads = [load for load in executable.loads if load.startswith("@rpath/")]
        print(f"{name}: Mach-O arm64, NOUNDEFS, macOS {executable.minimum}"
              f"{', ' if loads else ''}{', '.join(loads)}")
    return 0


sys.exit(main())
