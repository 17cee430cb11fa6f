"""The cluster's programs: built once from the Go modules beside this folder, or Debian's."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from kaizen_otel._stack.build import (
    ToolMissingError,
    apt_install,
    build_once,
    digest_of,
    may_use_apt,
    run_long,
    say,
)

MODULES = Path(__file__).resolve().parent.parent
VERSION = "v1.34.4"
PLUGINS = Path("/usr/lib/cni")
DEBIAN = ("containerd", "runc", "containernetworking-plugins", "conntrack", "iptables", "iproute2")
NEEDED = ("containerd", "ctr", "runc", "conntrack", "iptables", "ip")
BUILD_DEADLINE_S = 7200.0
# Their numbers, as capabilities(7) has them.
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}

# The version that the components tell each other; it would be set by Kubernetes' own build.
_STAMPS = {
    "gitVersion": VERSION,
    "gitMajor": VERSION.removeprefix("v").split(".")[0],
    "gitMinor": VERSION.split(".")[1],
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
}
_STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the programs that we build are."""

    kube: Path
    coredns: Path
    netpol: Path
    pause: Path


def objection() -> str | None:
    """Why no cluster can be started on this machine, whatever is installed; None if it can."""
    if sys.platform != "linux":
        return "platform: a Kubernetes node needs Linux"
    if os.geteuid() != 0:
        return "platform: a Kubernetes node needs root"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    for name, bit in _CAPABILITIES.items():
        if not capabilities >> bit & 1:
            return f"platform: a Kubernetes node needs {name}, which this container does not have"
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "platform: a Kubernetes node needs control groups that it may write"
    if shutil.which("containerd") is None and not may_use_apt():
        return "platform: there is no containerd, and no apt to install it with"
    return None


def obtain() -> Programs:
    """Build or find everything.  Raises SetupError saying what is missing."""
    install()
    return Programs(
        pause=_build("pause"),
        coredns=_build("coredns"),
        netpol=_build("netpol"),
        kube=_build("kube"),
    )


def install() -> None:
    """Have Debian's container runtime and network plugins.  Raises SetupError."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if not missing and (PLUGINS / "bridge").exists():
        return
    if not may_use_apt():
        raise ToolMissingError(
            f"the cluster needs {', '.join(missing) or 'the network plugins in ' + str(PLUGINS)}: "
            f"install {' '.join(DEBIAN)}"
        )
    log_path = Path("/var/log/kaizen-otel-cluster-apt.log")
    apt_install(DEBIAN, log_path=log_path, progress=say)


def _build(name: str) -> Path:
    module = MODULES / name
    sources = sorted(path for path in module.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    flags = ["-s", "-w"]
    if name == "kube":
        flags += [
            word
            for package in _STAMPED
            for key, value in _STAMPS.items()
            for word in ("-X", f"{package}.{key}={value}")
        ]

    def make(folder: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise ToolMissingError("the cluster's programs are built with Go: install Go 1.26")
        run_long(
            [go, "build", "-trimpath", "-ldflags", " ".join(flags), "-o", str(folder / name), "."],
            what=f"building {name} of the cluster (once, many minutes for kube)",
            log_path=folder / "build.log",
            working_directory=module,
            environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
            deadline_s=BUILD_DEADLINE_S,
        )

    digest = digest_of(sources, *flags)
    return build_once(f"cluster-{name}", digest, make) / name
