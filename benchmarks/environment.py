"""The installed clients and their versions."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path

from . import nginx
from .clients import CLIENTS
from .clients.entry import Entry


def missing(entry: Entry, args: argparse.Namespace) -> str | None:
    """Return the reason why a client cannot run here, or ``None``."""
    if entry.run is None:
        return _missing_turbo_lua(args.turbo_lua)
    if entry.before and args.before is None:
        return "no --before"
    absent = [name for name in entry.needs if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


def _missing_turbo_lua(folder: Path | None) -> str | None:
    if folder is None:
        return "no --turbo-lua"
    if not (folder / "libtffi_wrap.so").exists():
        return "not built: it has no libtffi_wrap.so"
    return None if shutil.which("luajit") else "luajit is not installed"


def versions(args: argparse.Namespace) -> dict[str, str]:
    """Return the versions of everything that was measured."""
    found = {
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "kernel": f"{platform.system()} {platform.release()}",
    }
    needed = {name for client in args.clients for name in CLIENTS[client].needs}
    for name in sorted({*needed, "tornado", "uvloop"} - {"turbo_tornado"}):
        if importlib.util.find_spec(name):
            found[name] = importlib.metadata.version(name)
    if "pycurl" in found:
        import pycurl

        found["libcurl"] = pycurl.version_info()[1]
    for name, folder in (("before", args.before), ("turbo-lua", args.turbo_lua)):
        if folder and (commit := _commit(folder)):
            found[name] = commit
    server = subprocess.run([str(nginx.find()), "-v"], capture_output=True, text=True, check=True)
    found["nginx"] = server.stderr.strip().rpartition("/")[2]
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
