"""Which systems and Pythons the project runs on, and the one sentence that others get at the first command.

Change this file when a system or a Python is added or given up; the README has the same table for people. It is read
before anything else is imported, by Pythons and systems that may be too old or too different for the rest: no import
but of what every Python has, no newer syntax than that of Python 3.7.
"""

from __future__ import annotations

import os
import platform
import sys

OLDEST_PYTHON, TOO_NEW_PYTHON = (3, 11), (3, 15)
"""The first that works, and the first that nobody has tried."""

OLDEST_GLIBC = (2, 28)
"""What the wheels of torch ask for: Debian 10, Ubuntu 20.04, RHEL 8 and newer have it."""

_PYTHONS = f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} to {TOO_NEW_PYTHON[0]}.{TOO_NEW_PYTHON[1] - 1}"


def require_supported() -> None:
    """End the process with status 1 and one sentence where the project cannot run; else do nothing."""
    refusal = unsupported()
    if refusal:
        sys.stderr.write(f"cspine: {refusal}\n")
        sys.exit(1)


def unsupported() -> str:
    """Return why the project cannot run here and what to do, in one sentence; empty where it can."""
    if os.name == "nt" or sys.platform in ("cygwin", "msys"):
        return (
            "expected Linux, macOS or WSL 2, got native Windows: run `wsl --install` in PowerShell, restart, "
            "and call the same commands in the Ubuntu that it installs."
        )
    if sys.platform not in ("linux", "darwin"):
        return f"expected Linux, macOS or WSL 2, got {sys.platform}: use one of these, or a virtual machine."
    if sys.maxsize <= 2**32:
        return f"expected a 64-bit Python, got a 32-bit one: install a 64-bit Python {_PYTHONS}."
    return unsupported_python()


def unsupported_python() -> str:
    """Return why this Python is too old or too new and what to do, in one sentence; empty where it will do."""
    version = tuple(sys.version_info[:3])
    if not OLDEST_PYTHON <= version[:2] < TOO_NEW_PYTHON:
        got = ".".join(str(part) for part in version)
        return (
            f"expected Python {_PYTHONS}, got {got}: "
            "install one of these (docs/installing.md) and call `make` with PYTHON=/path/to/it."
        )
    return ""


def system_name() -> str:
    """Return the system, its version and its processor, such as ``Linux 6.1, glibc 2.36, x86_64``."""
    if sys.platform == "darwin":
        parts = ["macOS " + platform.mac_ver()[0]]
    else:
        parts = ["Linux " + ".".join(platform.release().split(".")[:2])]
        parts += ["WSL"] if is_wsl() else []
        parts.append(" ".join(platform.libc_ver()).strip() or "another C library than glibc")
    return ", ".join([*parts, platform.machine()])


def missing_builds() -> str:
    """Return what is known to be missing on this supported system, and what to do; empty where nothing is."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return "torch has no build for Intel Macs that is new enough: use another machine, or Linux."
    if sys.platform == "linux":
        library, version = platform.libc_ver()
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if library != "glibc" or numbers < OLDEST_GLIBC:
            oldest = ".".join(str(part) for part in OLDEST_GLIBC)
            return f"torch needs glibc {oldest} or newer: use a newer release of Linux, or a container."
    return ""


def untried() -> str:
    """Return what to know where the project should run but was not tried; empty on Linux x86-64."""
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64") and not is_wsl():
        return ""
    return "Should work, but was not tried: call `make demo` first (README, What it runs on)."


def is_wsl() -> bool:
    """Whether this Linux runs inside Windows."""
    return "microsoft" in platform.release().lower()


if __name__ == "__main__":  # how `make` asks whether it may use an interpreter
    require_supported()
