"""What a cluster changes on its machine, recorded before and put back after.

Kernel settings, the firewall, two network links and control groups.  The record is a file, so
that what a killed run left behind is put back by the next one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import SetupError

NODE_LINK = "kaizen-node0"
PODS_LINK = "kaizen-pods0"
NODE_ADDRESS = "172.31.250.1"
QUEUE = 100

_PROC = Path("/proc/sys")
_CGROUPS = Path("/sys/fs/cgroup")
#: What the kubelet, kube-proxy and we write.  A test compares all of /proc/sys.
KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_udp_timeout",
    "net/netfilter/nf_conntrack_udp_timeout_stream",
    "net/ipv4/ip_forward",
)
_FIREWALLS = ("iptables", "ip6tables")
#: Where the kubelet and the network plugins write whatever they are told.
_FOLDERS = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/var/log/pods")
# Chains of kube-proxy and the kubelet, chains of the network plugins, rules of our own.
_OURS = re.compile(rf"KUBE-|CNI-|{PODS_LINK}")
_GONE_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The machine before the cluster."""

    settings: dict[str, str]
    firewall: dict[str, str]
    absent: list[str]
    """Folders that were not there."""


def take_record() -> Record:
    """The machine as it is now.  Raises SetupError if it is a Kubernetes node already."""
    if cgroups():
        raise SetupError("this machine runs a kubelet already, so the test's own would disturb it")
    settings = {
        name: (_PROC / name).read_text(encoding="ascii").strip()
        for name in KERNEL_SETTINGS
        if (_PROC / name).exists()
    }
    return Record(
        settings=settings,
        firewall={name: firewall(name) for name in _FIREWALLS},
        absent=[name for name in _FOLDERS if not Path(name).exists()],
    )


def save(record: Record, path: Path) -> None:
    """Write the record so that it is there whole or not at all."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> Record:
    """Read what `save` wrote."""
    return Record(**json.loads(path.read_text(encoding="utf-8")))


def prepare() -> None:
    """Make the node's link, forward packets, and have new connections of pods judged."""
    _run("ip", "link", "add", NODE_LINK, "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", NODE_LINK)
    _run("ip", "link", "set", NODE_LINK, "up")
    for name in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        if (_PROC / name).exists():
            (_PROC / name).write_text("1", encoding="ascii")
    # A Docker engine sets the policy of FORWARD to DROP.  Last in, first asked.
    for direction in ("-i", "-o"):
        _run("iptables", "-w", "-I", "FORWARD", direction, PODS_LINK, "-j", "ACCEPT")
    # kube-network-policies asks nftables for its queue, which not every kernel has.  While nobody
    # reads the queue, connections pass.
    new = ("-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE")
    queue = ("--queue-num", str(QUEUE), "--queue-bypass")
    _run("iptables", "-w", "-I", "FORWARD", "-i", PODS_LINK, *new, *queue)


def restore(record: Record) -> list[str]:
    """Put back what the cluster changed; what is different nevertheless (others' changes)."""
    for link in (PODS_LINK, NODE_LINK):
        if Path(f"/sys/class/net/{link}").exists():
            _run("ip", "link", "delete", link)
    for folder in record.absent:
        shutil.rmtree(folder, ignore_errors=True)
    differences = [
        f"{name}: {line}"
        for name, before in record.firewall.items()
        for line in _restore_firewall(name, before)
    ]
    for name, value in record.settings.items():
        path = _PROC / name
        if path.exists() and path.read_text(encoding="ascii").strip() != value:
            path.write_text(value, encoding="ascii")
    return differences


def firewall(program: str) -> str:
    """All rules of one family, without counters; empty if there is no such program."""
    saver = shutil.which(f"{program}-save")
    if saver is None:
        return ""
    answer = subprocess.run([saver], capture_output=True, text=True, check=False)
    return re.sub(r"\[\d+:\d+\]", "[0:0]", answer.stdout)


def led_to(namespace: str, service: str) -> set[str]:
    """Address and port of each pod to which kube-proxy's rules lead from a Service's address."""
    rule = rf'--comment "?{namespace}/{service}(?::[\w-]+)?"? .*--to-destination (\S+)'
    return set(re.findall(rule, firewall("iptables")))


def rules(text: str) -> list[str]:
    """What a saved firewall says, without remarks and tables in which nothing stands."""
    found: list[str] = []
    for table in re.split(r"^(?=\*)", text, flags=re.MULTILINE):
        lines = [line for line in table.splitlines() if line and not line.startswith("#")]
        if any(not re.fullmatch(r"\*\w+|COMMIT|:\w+ ACCEPT \[0:0\]", line) for line in lines):
            found += lines
    return found


def _restore_firewall(program: str, before: str) -> list[str]:
    now = firewall(program)
    known = set(before.splitlines())
    kept = [line for line in now.splitlines() if line in known or not _OURS.search(line)]
    if len(kept) != len(now.splitlines()):
        subprocess.run(
            [f"{program}-restore", "-w"], input="\n".join([*kept, ""]), text=True, check=True
        )
    return sorted(set(rules(before)) ^ set(rules(firewall(program))))


def cgroups() -> list[Path]:
    """The control groups of pods: one, or with version 1 one of each controller."""
    return [
        path
        for path in (_CGROUPS / "kubepods", *_CGROUPS.glob("*/kubepods"))
        if path.is_dir() and not path.is_symlink()
    ]


def members() -> set[int]:
    """The processes in pods."""
    found: set[int] = set()
    for root in cgroups():
        for path in root.rglob("cgroup.procs"):
            try:
                found |= {int(line) for line in path.read_text(encoding="ascii").split()}
            except OSError:  # the pod ended meanwhile
                continue
    return found


def remove_cgroups() -> None:
    """Remove the control groups of pods, whose processes have ended.  Raises SetupError."""
    clock, never = SystemClock(), threading.Event()
    deadline_ns = clock.monotonic_ns() + int(_GONE_DEADLINE_S * 1e9)
    while roots := cgroups():
        for root in roots:
            folders = [path for path in root.rglob("*") if path.is_dir()]
            for folder in [*sorted(folders, reverse=True), root]:
                try:
                    folder.rmdir()
                except OSError:  # busy as long as the kernel still ends a process of it
                    break
        if clock.monotonic_ns() >= deadline_ns:
            raise SetupError(f"control groups of pods stay: {', '.join(map(str, cgroups()))}")
        if roots:
            clock.wait(never, 20_000_000)


def unmount_below(folder: Path) -> None:
    """Unmount everything that is mounted in a folder, the deepest first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        point = mount.encode().decode("unicode_escape")
        if Path(point).is_relative_to(folder):
            _run("umount", "-l", point)


def processes_with(argument: str) -> set[int]:
    """The processes that have this word in their command line (a path of our own)."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in words and int(path.parent.name) != os.getpid():
            found.add(int(path.parent.name))
    return found


def _run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SetupError(f"{' '.join(command)}: {answer.stderr.strip()}")
