"""Where the project cannot run, the first command says so in one sentence, before anything else can fail."""

import ast
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cspine_assets
from cspine_assets.cli import doctor, systems
from cspine_assets.cli.doctor import Verdict

READ_FIRST = ("__init__.py", "cli/__init__.py", "cli/systems.py")
COMMAND = "from cspine_assets.cli.app import main; main()"


@pytest.mark.parametrize(
    ("faked", "said"),
    [
        ("os.name = 'nt'", "got native Windows: run `wsl --install`"),
        ("sys.platform = 'cygwin'", "got native Windows"),
        ("sys.platform = 'freebsd14'", "got freebsd14"),
        ("sys.maxsize = 2**31 - 1", "got a 32-bit one"),
        ("sys.version_info = (3, 10, 4, 'final', 0)", "got 3.10.4"),
        ("sys.version_info = (3, 15, 0, 'alpha', 1)", "got 3.15.0"),
    ],
)
def test_an_unsupported_system_gets_one_sentence(faked: str, said: str):
    # nothing but the standard library's first modules: whatever else is imported would fail there with a traceback
    script = f"import os, sys; {faked}; sys.argv = ['cspine', '--version']; {COMMAND}"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("cspine: expected ")
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_nothing_but_the_standard_library_is_loaded_before_the_sentence():
    script = (
        "import sys; sys.version_info = (3, 10, 4)\n"
        "try:\n    from cspine_assets.cli.app import main\n"
        "finally:\n    print(*{name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert {"typer", "pydantic", "psutil", "rich"}.isdisjoint(ended.stdout.split())


@pytest.mark.parametrize("file", READ_FIRST)
def test_an_old_python_understands_what_is_read_first(file: str):
    ast.parse((Path(cspine_assets.__file__).parent / file).read_text(encoding="utf-8"), feature_version=(3, 7))


def test_pip_and_the_classifiers_name_the_same_pythons():
    project = tomllib.loads((Path(cspine_assets.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (major, oldest), (_, too_new) = systems.OLDEST_PYTHON, systems.TOO_NEW_PYTHON
    assert project["requires-python"] == f">={major}.{oldest},<{major}.{too_new}"
    named = [line.rsplit(" ", 1)[-1] for line in project["classifiers"] if "Python ::" in line]
    assert named == [f"{major}.{minor}" for minor in range(oldest, too_new)]


def test_make_asks_the_same_file_whether_an_interpreter_will_do():
    script = Path(systems.__file__)
    assert subprocess.run([sys.executable, script], check=False).returncode == 0
    faked = f"import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path({str(script)!r}, run_name='__main__')"
    refused = subprocess.run([sys.executable, "-c", faked], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("cspine: expected Python 3.11 to 3.14, got 3.9.2")
    makefile = (script.parents[2] / "Makefile").read_text()
    assert "$$name cspine_assets/cli/systems.py" in makefile  # as it looks for one
    assert "\t@$(or $(PYTHON),python3) cspine_assets/cli/systems.py\n" in makefile  # of the one it was given


def test_a_supported_system_is_good():
    assert systems.unsupported() == ""
    assert doctor.look_at_system().verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("libc", "verdict"),
    [(("glibc", "2.28"), Verdict.GOOD), (("glibc", "2.17"), Verdict.MISSING), (("", ""), Verdict.MISSING)],
)
def test_a_c_library_without_torch_is_told(monkeypatch: pytest.MonkeyPatch, libc: tuple[str, str], verdict: Verdict):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    assert doctor.look_at_system().verdict is verdict


@pytest.mark.parametrize(("machine", "verdict"), [("arm64", Verdict.NOTE), ("x86_64", Verdict.MISSING)])
def test_macs_are_told_apart(monkeypatch: pytest.MonkeyPatch, machine: str, verdict: Verdict):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.2", ("", "", ""), machine))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    finding = doctor.look_at_system()
    assert (finding.verdict, finding.found) == (verdict, f"macOS 15.2, {machine}")
    assert finding.remedy


def test_wsl_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    assert "WSL" in doctor.look_at_system().found
