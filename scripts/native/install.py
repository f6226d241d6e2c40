"""Installs the native libraries and build tools that wheels.json pins into .native/.

Every file is checked by its hash, a download that was cut short goes on where it stopped, and what
is installed already isn't touched. Written for Python 3.9, which is what macOS has.
"""

import argparse
import fnmatch
import hashlib
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import nvidia

PINS = Path(__file__).with_name("wheels.json")
NATIVE = Path(__file__).resolve().parents[2] / ".native"
# pip resolves against this Python; the libraries inside the wheels don't depend on it.
PYTHON_VERSION = "3.12"
BLOCK = 1 << 20


class Failure(Exception):
    """What went wrong and what to do, in one line."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuda", action="store_true", help="from now on the builds for NVIDIA GPUs (Linux); undone by removing .native")
    parser.add_argument("--platform", default=this_platform(), help="a name in wheels.json")
    parser.add_argument("--only", choices=["lib", "tools"], help="leave out the others")
    parser.add_argument("--into", type=Path, default=NATIVE, help="the folder to install into")
    parser.add_argument("--version", type=named_version, metavar="FRAMEWORK=VERSION",
                        help="only the library of mlx or torch, in another version than the pinned one")
    options = parser.parse_args()
    pins = json.loads(PINS.read_text())
    if options.platform not in pins:
        frameworks = [name for name, pin in pins.items() if any(wheel["into"] == "lib" for wheel in pin["wheels"])]
        say(f"there is no pinned libtorch or MLX for {options.platform}, only for "
            f"{' and '.join(frameworks)}: only the candle backend will be built")
        return 0
    target = pins[options.platform]
    if options.cuda and not any(wheel.get("cuda") for wheel in target["wheels"]):
        raise Failure(f"there are no CUDA builds for {options.platform}: leave out --cuda")
    options.into.mkdir(parents=True, exist_ok=True)
    # The choice is kept, with the GPU that it is for: a later set-up without the option goes on with it.
    chosen = options.into / "cuda"
    capability = nvidia.capability(say) if options.cuda else None
    options.cuda = options.cuda or chosen.exists()
    wheels = [wheel for wheel in target["wheels"] if wanted(wheel, options)]
    if options.version:
        framework, version = options.version
        wheels = [wheel | {"version": version, "sha256": None} for wheel in wheels
                  if wheel["package"].split("-")[0] == framework]
    missing = [wheel for wheel in wheels if not installed(wheel, options)]
    has_cuda = any(wheel.get("cuda") for wheel in target["wheels"])
    if missing and not options.cuda and has_cuda and shutil.which("nvidia-smi"):
        say("builds for the CPU; `scripts/setup --cuda` takes those for this machine's NVIDIA GPU")
    make_sure_of_room(missing, options.into)
    # Written again only where it differs: what was built before it is built anew.
    if capability and not (chosen.is_file() and chosen.read_text() == capability + "\n"):
        chosen.write_text(capability + "\n")
    for wheel in missing:
        install(wheel, target["tags"], options)
    return 0


def named_version(text):
    framework, _, version = text.partition("=")
    if framework not in ("mlx", "torch") or not version:
        raise argparse.ArgumentTypeError("write mlx=0.31.2 or torch=2.12.1")
    return framework, version


def wanted(wheel, options):
    if options.only and wheel["into"] != options.only:
        return False
    return not (wheel.get("unless_cuda") if options.cuda else wheel.get("cuda"))


def make_sure_of_room(missing, into):
    """Says how much will be fetched where that takes a while, and fails where it won't fit."""
    size = sum(wheel.get("megabytes", 0) for wheel in missing) / 1000
    if size < 0.1:
        return
    # Unpacked they are 1.6 times as large; the largest archive lies beside that for a while.
    room = 2 * size
    say(f"{len(missing)} packages to fetch, {size:.1f} GB, and {room:.1f} GB of room for them in {into}")
    free = shutil.disk_usage(into).free / 1e9
    if free < room:
        raise Failure(f"{into} has {free:.1f} GB left: make room, then run scripts/setup again")


def this_platform():
    """The name that wheels.json has for this machine."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    return f"{system}-{platform.machine().lower()}"


def mark(wheel, options):
    """The file that says which form of a package is unpacked, and what it says for this one."""
    flavour = " cuda" if options.cuda and "cuda_only" in wheel else ""
    return options.into / "installed" / wheel["package"], f"{wheel['sha256'] or wheel['version']}{flavour}\n"


def installed(wheel, options):
    stamp, done = mark(wheel, options)
    return stamp.is_file() and stamp.read_text() == done


def install(wheel, tags, options):
    """Downloads one wheel and unpacks what is kept of it."""
    name = f"{wheel['package']} {wheel['version']}"
    archive = options.into / "downloads" / f"{wheel['package']}-{(wheel['sha256'] or wheel['version'])[:12]}.whl"
    if not archive.is_file():
        archive.parent.mkdir(parents=True, exist_ok=True)
        url, indexed = resolve(wheel, tags)
        # Of a version that isn't pinned, the index says what it should be.
        expected = wheel["sha256"] or indexed
        if expected is None:
            raise Failure(f"pip's package index gives no SHA-256 of {name}: set pip to one that does, since a download "
                          "that isn't pinned can't be checked without")
        download(url, expected, name, archive)
    say(f"unpacking {name}")
    folder = options.into / wheel["into"]
    unpack(archive, folder, wheel, options.cuda)
    if wheel["package"] == "torch":
        # torch-sys compares this with the version that it was made for.
        (folder / "torch" / "build-version").write_text(wheel["version"] + "\n")
    stamp, done = mark(wheel, options)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(done)
    archive.unlink()


def resolve(wheel, tags):
    """The address and the SHA-256 of a wheel, from whichever package index this machine's pip is set to."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps",
               "--disable-pip-version-check", "--ignore-installed", "--only-binary=:all:",
               "--implementation", "cp", "--python-version", PYTHON_VERSION,
               "--target", str(PINS.with_name("unused")), "--report", "-"]
    command += [option for tag in tags for option in ("--platform", tag)]
    command.append(f"{wheel['package']}=={wheel['version']}")
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if found.returncode != 0:
        lines = [line for line in found.stderr.splitlines() if "ERROR" in line] or ["pip failed"]
        raise Failure(f"{wheel['package']} {wheel['version']} can't be found ({lines[0]}): check "
                      "the network and pip's configuration, then run scripts/setup again")
    told = json.loads(found.stdout)["install"][0]["download_info"]
    return told["url"], told.get("archive_info", {}).get("hashes", {}).get("sha256")


def download(url, expected, name, archive):
    """Fetches `url` to `archive`, going on from what an earlier attempt left behind."""
    partial = archive.with_suffix(".partial")
    for attempt in range(5):
        try:
            fetch(url, partial, name)
            break
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                break  # Nothing is left to fetch; the hash will tell.
            if attempt == 4 or getattr(error, "errno", None) == 28:
                raise Failure(f"{name} can't be fetched ({error}): run scripts/setup again to go "
                              "on from here") from error
            say(f"{name}: {error}; trying again")
    if sha256(partial) != expected:
        partial.unlink()
        raise Failure(f"{name} is not the file that scripts/native/wheels.json pins, or the package index names "
                      "(its sha256 differs): run this again, and report it if it happens twice")
    partial.rename(archive)


def fetch(url, partial, name):
    """Appends the rest of `url` to `partial`."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    context = ssl.create_default_context(cafile=bundle)
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        if have and answer.status != 206:
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with open(partial, "ab" if have else "wb") as file:
            progress = Progress(name, total)
            for block in iter(lambda: answer.read(BLOCK), b""):
                file.write(block)
                have += len(block)
                progress.show(have)
            progress.end()
    if have < total:
        raise OSError("the connection ended early")


def unpack(archive, folder, wheel, cuda):
    """Unpacks the kept files of a wheel with their permissions, which zipfile forgets."""
    skip = wheel.get("skip", []) + ([] if cuda else wheel.get("cuda_only", []))
    keep = wheel.get("keep", ["*"])
    matches = lambda name, patterns: any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    with zipfile.ZipFile(archive) as wheel_file:
        for entry in wheel_file.infolist():
            if entry.is_dir() or not matches(entry.filename, keep) or matches(entry.filename, skip):
                continue
            path = Path(wheel_file.extract(entry, folder))
            mode = entry.external_attr >> 16 & 0o777
            if mode:
                path.chmod(mode | 0o600)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


class Progress:
    """A line that is written over on a terminal; elsewhere a line every quarter."""

    def __init__(self, name, total):
        self.name, self.total, self.shown, self.next = name, total, 0.0, 0.25
        self.terminal = sys.stderr.isatty()

    def show(self, have):
        text = f"setup: {self.name}: {have / 1e6:.0f} of {self.total / 1e6:.0f} MB"
        if self.terminal and time.monotonic() - self.shown > 0.2:
            self.shown = time.monotonic()
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
        elif not self.terminal and self.total > 50e6 and have >= self.next * self.total:
            self.next += 0.25
            print(text, file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print(f"\r\033[K", end="", file=sys.stderr)
        say(f"{self.name}: fetched {self.total / 1e6:.1f} MB")


def say(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, nvidia.Unusable) as failure:
        say(str(failure))
        sys.exit(2)
    except OSError as failure:
        say(f"{failure}: make room or correct the permissions, then run scripts/setup again")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted: run scripts/setup again to go on from here")
        sys.exit(130)
