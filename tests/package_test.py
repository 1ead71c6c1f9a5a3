"""The distributions: built, checked, and installed in an empty environment."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from turbo_tornado import __version__

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("build", "twine")),
        reason="build and twine are not installed; the environment 'package' of tox has them",
    ),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parent.parent
NAME = f"turbo_tornado-{__version__}"
EXAMPLE = "gateway.py"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture
def wheel(dist: Path) -> Path:
    return dist / f"{NAME}-py3-none-any.whl"


@pytest.fixture
def sdist(dist: Path) -> Path:
    return dist / f"{NAME}.tar.gz"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def modules() -> set[str]:
    """Return the files of the package and of its pytest plugin."""
    package = ROOT / "turbo_tornado"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    return {*files, "turbo_tornado/py.typed", "_turbo_tornado_pytest.py"}


def test_metadata_is_valid(wheel: Path, sdist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)


def test_wheel_contains_only_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"{NAME}.dist-info/"
    assert {name for name in names if not name.startswith(info)} == modules()
    assert f"{info}licenses/LICENSE" in names


def test_description_has_no_relative_links(wheel: Path) -> None:
    metadata = zipfile.ZipFile(wheel).read(f"{NAME}.dist-info/METADATA").decode()
    description = metadata.partition("\n\n")[2]
    assert description.startswith("# turbo_tornado")
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert links
    assert all(link.startswith("https://") for link in links), links


def test_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert modules() <= names
    assert {"README.md", "CHANGELOG.md", "LICENSE", "setup.py", "pyproject.toml"} <= names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/", "."))}


@pytest.mark.parametrize(("kind", "extra"), [("wheel", ""), ("wheel", "[curl]"), ("sdist", "")])
def test_works_in_an_empty_environment(
    kind: str, extra: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    distribution: Path = request.getfixturevalue(kind)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{distribution}{extra}")
    shutil.copy(ROOT / "examples" / EXAMPLE, tmp_path)

    assert run(python, "-m", "turbo_tornado", "--version", cwd=tmp_path) == (
        f"turbo_tornado {__version__}\n"
    )
    where = run(python, "-c", "import turbo_tornado; print(turbo_tornado.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path))
    answers = run(python, EXAMPLE, "--once", "--port", "0", cwd=tmp_path)
    assert "200" in answers
