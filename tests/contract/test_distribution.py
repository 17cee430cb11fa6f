"""The built package, installed alone: no source folder near, an empty working folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What was built, and where the wheel is installed."""

    sdist: Path
    wheel: Path
    environment: Path

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the installation in a folder, with the user's caches."""
        program, *arguments = command
        values = dict(os.environ)
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "KAIZEN_OTEL_COLLECTOR"):
            values.pop(name, None)
        values["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{values['PATH']}"
        values["XDG_STATE_HOME"] = str(folder / "state")
        return subprocess.run(
            [str(self.environment / "bin" / program), *arguments],
            cwd=folder,
            env=values,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


def quietly(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """Build the wheel out of the source distribution, so that a gap in that one shows too.

    The third-party packages are those of this environment: a `.pth` file in the new one leads
    there.  The editable install of the source is not reached that way, because Python reads no
    `.pth` files in a folder that a `.pth` file adds.
    """
    folder = tmp_path_factory.mktemp("distribution")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder))
    quietly(*build, str(ROOT), cwd=folder)
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    (packages / "third-party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wheel = next(folder.glob("*.whl"))
    pip = (sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"))
    options = ("--quiet", "--no-deps", "--no-index", "--force-reinstall")
    quietly(*pip, "install", *options, str(wheel), cwd=folder)
    return Distribution(sdist=next(folder.glob("*.tar.gz")), wheel=wheel, environment=environment)


def tracked(folder: str) -> set[str]:
    """The files of a folder that git knows."""
    command = ["git", "ls-files", "-z", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("platform: not a git checkout")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_carries_what_the_tools_need_of_collector_and_no_test_data(
    distribution: Distribution,
) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        names = set(archive.namelist())
    left_out = re.compile(r"/testdata/|_test\.go$|/bin/|/dashboards/source/")
    wanted = {
        f"kaizen_otel/_data/{name}" for name in tracked("collector") if not left_out.search(name)
    }
    assert wanted <= names
    assert not [name for name in names if left_out.search(name)]
    assert "kaizen_otel/py.typed" in names
    page = {name for name in tracked("kaizen_otel") if "/static/" in name}
    assert page
    assert page <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kaizen_otel"}


def test_the_wheel_is_small_and_holds_no_binary(distribution: Distribution) -> None:
    assert distribution.wheel.stat().st_size < 2 * 1024 * 1024
    with zipfile.ZipFile(distribution.wheel) as archive:
        for name in archive.namelist():
            assert archive.read(name)[:4] != b"\x7fELF", name


def test_the_source_distribution_holds_every_file_of_the_repository(
    distribution: Distribution,
) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {member.name.split("/", 1)[-1] for member in archive.getmembers()}
    missing = {name for name in tracked(".") if name not in names}
    # Only what git itself or the archive's builder needs may stay behind.
    assert missing <= {".gitignore"}


def test_the_licence_and_the_python_range_are_declared(distribution: Distribution) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    required = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    names = sorted(re.split(r"[<>=!~ ]", line)[0] for line in required)
    assert names == ["click", "cryptography", "google-crc32c", "opentelemetry-api", "pyyaml"]


def test_the_installed_package_is_the_wheel_and_not_the_source(
    distribution: Distribution, tmp_path: Path
) -> None:
    code = "import kaizen_otel; print(kaizen_otel.__file__, kaizen_otel.__version__)"
    done = distribution.run("python", "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    path, version = done.stdout.split()
    assert Path(path).is_relative_to(distribution.environment)
    assert version == "0.1.0"


def test_the_installed_command_validates_the_shipped_configs_from_an_empty_folder(
    distribution: Distribution, tmp_path: Path
) -> None:
    done = distribution.run("kaizen-otel", "collector", "validate", folder=tmp_path)
    if done.returncode == 4:
        pytest.skip(f"needs a Collector: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert "dev: valid" in done.stdout
    assert "gateway: valid" in done.stdout


def test_the_installed_command_runs_the_demo_from_an_empty_folder(
    distribution: Distribution, tmp_path: Path
) -> None:
    done = distribution.run("kaizen-otel", "demo", folder=tmp_path)
    if done.returncode == 4:
        pytest.skip(f"needs a Collector: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 dropped" in done.stdout
