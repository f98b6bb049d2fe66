"""The container image, built from deploy/Dockerfile and run with podman, where no registry can be reached.

A base image of the name that the Dockerfile says is made from Debian's packages: Debian's own Python 3.13 where the
official one is in /usr/local. What pip wants in the build is fetched before, by the hashes of the lock files, and pip
is told of it by a file that is mounted: the Dockerfile is what users get. Base, packages and images are kept below the
user's cache, so that the second run makes only what has changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.servers import ENVIRONMENT, missing, proxies, require_programs, require_root

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LOCKS = (DEPLOY / "requirements.lock", DEPLOY / "requirements-build.lock")
BASE = "localhost/python:3.13-slim"
SUITE = "trixie"
"""The Debian release that has Python 3.13."""
SAME_TIME = ("--timestamp", "315532800")
"""Of every file that is made, and of the image."""
PACKAGES = "base-files,dash,coreutils,findutils,libc-bin,python3-venv,ca-certificates,netbase,tzdata"

_LIKE_THE_OFFICIAL_ONE = """\
set -eu
cd "$1"
mkdir -p usr/local/bin usr/local/lib/python3.13/dist-packages tmp
chmod 1777 tmp
ln -s ../../bin/python3.13 usr/local/bin/python
ln -s ../../bin/python3.13 usr/local/bin/python3
%(python)s -m zipfile -e usr/share/python-wheels/pip-*.whl usr/local/lib/python3.13/dist-packages
printf '#!/usr/bin/python3.13\\nfrom pip._internal.cli.main import main\\nexit(main())\\n' >usr/local/bin/pip
chmod 755 usr/local/bin/pip
rm usr/lib/python3.13/EXTERNALLY-MANAGED
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
echo root:x:0:0::/root:/bin/sh >etc/passwd
echo root:x:0: >etc/group
"""
_ONLY_UNPACKED = ("--variant=extract", "--mode=root", "--quiet", "--skip=output/dev")
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_BEHIND_OTHERS = ("setsid", "--wait", "sh", "-c", 'echo 19 >/proc/self/autogroup; exec nice -n 19 "$@"', "sh")
"""What is built is in no hurry; what else is tested meanwhile may be. Source: sched(7), autogroup."""
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Engine:
    """podman and buildah with a storage of their own."""

    directory: Path

    def __call__(self, *command: str, check: bool = True, within: float = 540.0) -> subprocess.CompletedProcess[str]:
        """Runs `podman` or `buildah` to its end. Raises AssertionError with all that it said if it fails."""
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=within,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    @property
    def environment(self) -> dict[str, str]:
        """What they are told about where they are."""
        return ENVIRONMENT | {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }

    def has(self, image: str) -> bool:
        """Whether there is such an image."""
        return self("podman", "image", "exists", image, check=False).returncode == 0

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """All that podman knows of an image or a container."""
        found: list[dict[str, Any]] = json.loads(self("podman", kind, "inspect", name).stdout)
        return found[0]

    @contextlib.contextmanager
    def running(self, image: str, options: Sequence[str], *command: str) -> Iterator[str]:
        """A container of this image within the block; its name. It may have ended; it is removed after the block."""
        name = f"mailprobe-test-{secrets.token_hex(6)}"
        try:
            self("podman", "run", "--detach", "--name", name, *options, image, *command)
            yield name
        finally:
            self("podman", "rm", "--force", "--time", "0", "--volumes", name, check=False)

    def logs(self, name: str) -> str:
        """What a container has said."""
        done = self("podman", "logs", name, check=False)
        return done.stdout + done.stderr


def prepared_engine() -> Engine:
    """podman, ready to run containers. Skips where it cannot be."""
    require_root("podman")
    programs = ["podman", "buildah", "runc", "catatonit", "mmdebstrap"]
    require_programs("podman", programs, " ".join(programs))
    directory = _cache()
    driver = "vfs" if _file_system(directory) == "overlayfs" else "overlay"
    places = f'runroot = "/run/mailprobe-tests"\ngraphroot = "{directory / driver}"\n'
    _write(directory / "storage.conf", f'[storage]\ndriver = "{driver}"\n{places}')
    _write(directory / "containers.conf", _CONTAINERS_CONF)
    engine = Engine(directory)
    works = engine("podman", "info", check=False)
    if works.returncode:
        missing("podman", f"it does not work here: {works.stderr.strip()[-300:]}")
    return engine


def built_image(engine: Engine) -> str:
    """The name of the image of this tree, built if it has not been yet."""
    name = f"localhost/mailprobe:{_fingerprint()}"
    with locked(engine.directory / "lock"):
        if not engine.has(name):
            with ThreadPoolExecutor() as pool:
                fetched = [pool.submit(_fetch, lock, engine.directory / "wheels") for lock in LOCKS]
                make_base(engine)
                for each in fetched:
                    each.result()
            build(engine, name)
            engine("podman", "image", "prune", "--all", "--force", "--filter", "until=24h", check=False)
    return name


def make_base(engine: Engine) -> None:
    """The base image under the Dockerfile's name, made if it is not there."""
    if engine.has(BASE):
        return
    hook, tar = engine.directory / "hook.sh", engine.directory / "base.tar"
    if not tar.exists():
        _write(hook, _LIKE_THE_OFFICIAL_ONE % {"python": sys.executable})
        new = tar.with_suffix(".new.tar")
        hooks = f'--extract-hook=sh {hook} "$1"'
        _unpack(PACKAGES, new, hooks)
        new.rename(tar)
    changes = ("--change", 'CMD ["python3"]', "--change", f"ENV PATH={_PATH}")
    engine("podman", "import", "--quiet", *changes, str(tar), BASE)


def build(engine: Engine, name: str, *options: str) -> None:
    """Builds the image as `docker build -f deploy/Dockerfile .` does, but with packages that are there already."""
    settings = engine.directory / "pip.conf"
    _write(settings, "[global]\nno-index = true\nfind-links = /wheels\n")
    mounts = ("--volume", f"{engine.directory / 'wheels'}:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro")
    how = ("--isolation", "chroot", "--format", "docker", "--pull=never", *mounts, *options)
    engine(*_BEHIND_OTHERS, "buildah", "bud", *how, "--tag", name, "--file", str(DEPLOY / "Dockerfile"), str(ROOT))


def found_kubectl() -> str:
    """kubectl, from Debian's package where this machine has none. Skips where it cannot be had."""
    if found := shutil.which("kubectl"):
        return found
    require_root("kubectl")
    require_programs("kubectl", ["mmdebstrap"], "mmdebstrap")
    directory = _cache()
    program, tar = directory / "kubectl", directory / "kubectl.tar"
    with locked(directory / "kubectl.lock"):
        if not program.exists():
            _unpack("kubernetes-client", tar)
            with tarfile.open(tar) as archive:
                content = archive.extractfile("./usr/bin/kubectl")
                assert content
                new = program.with_suffix(".new")
                new.write_bytes(content.read())
            new.chmod(0o755)
            new.rename(program)
            tar.unlink()
    return str(program)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one of several test processes is in such a block."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(packages: str, tar: Path, *options: str) -> None:
    """Packages of SUITE and all that they depend on, as an archive."""
    command = [
        *_BEHIND_OTHERS,
        "mmdebstrap",
        *_ONLY_UNPACKED,
        *_apt_proxies(),
        f"--include={packages}",
        *options,
        SUITE,
        str(tar),
    ]
    environment = ENVIRONMENT | proxies()
    done = subprocess.run(
        [*command, *_mirror()], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _mirror() -> list[str]:
    """Where this machine has Debian's packages from; none where it is not Debian, and mmdebstrap knows one."""
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    found = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    return [place for place in found if place.startswith("http")][:1]


def _apt_proxies() -> list[str]:
    """The proxies that this machine's apt is told to use: mmdebstrap does not read its settings."""
    names = ["Acquire::http::Proxy", "Acquire::https::Proxy"]
    dump = subprocess.run(
        ["apt-config", "dump", "--format", '%F "%v";%n', *names], capture_output=True, text=True, check=True
    )
    return [f"--aptopt={line}" for line in dump.stdout.splitlines() if '""' not in line]


def _cache() -> Path:
    """Where what was made is kept."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailprobe-tests" / "containers"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _fetch(lock: Path, wheels: Path) -> None:
    """All packages of a lock file for the image's Python, by their hashes."""
    tags = [f"--platform=manylinux{tag}_{os.uname().machine}" for tag in ("_2_28", "_2_17", "2014")]
    options = ["--no-deps", "--only-binary=:all:", "--python-version=3.13", *tags, "--dest", str(wheels)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", *options, "--requirement"]
    done = subprocess.run([*command, str(lock)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def _fingerprint() -> str:
    """Of all that the image is made of."""
    files = [DEPLOY / "Dockerfile", ROOT / ".dockerignore", ROOT / "pyproject.toml", ROOT / "README.md", *LOCKS]
    files += sorted(path for path in (ROOT / "mailprobe").rglob("*") if path.is_file() and path.suffix != ".pyc")
    found = hashlib.sha256(PACKAGES.encode())
    for path in files:
        found.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def _file_system(path: Path) -> str:
    return subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()


def _write(path: Path, text: str) -> None:
    """In one step: other test processes read it."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)
