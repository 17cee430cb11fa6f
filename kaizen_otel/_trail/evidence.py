"""The evidence bundle: records as they stand in the trail, with what it takes to check them.

A ``.tar.gz`` of

- ``trail.jsonl``: the lines of the trail that hold the records, byte for byte
- ``records.jsonl``: the records themselves, flat, for people and programs that read no OTLP
- ``verdict.json``: what ``audit verify`` says about the whole trail
- ``keys.json``: the public keys, in the form of a trust file
- ``anchors/...``: the anchor files that were given
- ``manifest.json``: size and SHA-256 of each of them, who made the bundle, when, and the question
- ``manifest.signature``: base64 of the Ed25519 signature over the SHA-256 of ``manifest.json``
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final, cast

from kaizen_otel._trail.formats import encode_records
from kaizen_otel._trail.output import whole_file
from kaizen_otel.audit.signatures import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    decode_base64,
    encode_base64,
    key_id_of,
    verify_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._signing import Signer
    from kaizen_otel._trail.range import Found

KIND: Final = "kaizen-otel evidence v1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.signature"

_CHUNK_BYTES: Final = 1024 * 1024
_MEMORY_BYTES: Final = 4 * 1024 * 1024
_MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
_MEMBERS_MAX: Final = 10_000
_NANOSECONDS: Final = 10**9
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was written: ``records`` in ``lines`` lines, signed by ``key_id``."""

    path: str
    records: int
    lines: int
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCheck:
    """What is wrong with a bundle, if anything, and which key signed it."""

    problems: list[str] = field(default_factory=list[str])
    key_id: str = ""
    public_key: str = ""
    time_unix_nano: str = ""
    members: int = 0

    @property
    def is_clean(self) -> bool:
        """Manifest, signature and members fit each other."""
        return not self.problems


class _Member:
    """A member that is written piece by piece; small ones stay in memory."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self.file = file
        self.size = 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)
        self._hash.update(data)

    def described(self) -> dict[str, str]:
        return {"name": self.name, "sha256": self._hash.hexdigest(), "size": str(self.size)}


def write_bundle(
    path: str,
    found: Iterable[Found],
    *,
    signer: Signer,
    filesystem: Filesystem,
    clock: Clock,
    question: Mapping[str, str],
    verdict: bytes,
    keys: bytes,
    anchors: Mapping[str, bytes],
) -> Bundle:
    """Write the bundle of ``found``, each record once; nothing is there after an error.

    ``anchors`` are by the name they get in the bundle.  Raises ``OSError`` for the disk's faults,
    and whatever the signer raises.
    """
    now_ns = clock.time_ns()
    with ExitStack() as stack:

        def member(name: str, *pieces: bytes) -> _Member:
            # Beside the bundle: the folder for temporary files may be readable for others.
            directory = posixpath.dirname(posixpath.abspath(path))
            file = stack.enter_context(
                tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES, dir=directory)
            )
            made = _Member(name, cast("IO[bytes]", file))
            for piece in pieces:
                made.write(piece)
            return made

        trail, records = member("trail.jsonl"), member("records.jsonl")
        count, lines = _collect(found, trail, records)
        members = [trail, records, member("verdict.json", verdict), member("keys.json", keys)]
        members += [member(f"anchors/{name}", data) for name, data in sorted(anchors.items())]
        manifest = {
            "key_id": signer.key_id,
            "kind": KIND,
            "lines": str(lines),
            "members": [one.described() for one in members],
            "public_key": encode_base64(signer.public_key),
            "question": dict(question),
            "records": str(count),
            "time_unix_nano": str(now_ns),
        }
        text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        signature = encode_base64(signer.sign(hashlib.sha256(text).digest()))
        members += [member(MANIFEST, text), member(SIGNATURE, signature.encode() + b"\n")]
        with whole_file(filesystem, path) as output:
            _pack(members, cast("IO[bytes]", output), now_ns // _NANOSECONDS)
    return Bundle(path=path, records=count, lines=lines, key_id=signer.key_id)


def check_bundle(file: IO[bytes]) -> BundleCheck:
    """Check that a bundle is what its signer made of it.

    Whether its records are genuine is for ``verify`` to say, and whose key that is for the trust
    file.  Never raises for what a file can hold.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|gz") as archive:
            return _check(archive)
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        return BundleCheck(problems=[f"this is no whole evidence bundle: {error}"])


def _collect(found: Iterable[Found], trail: _Member, records: _Member) -> tuple[int, int]:
    count = lines = 0
    last: tuple[str, int] | None = None
    for one in found:
        if (one.path, one.offset) != last:
            last = one.path, one.offset
            lines += 1
            trail.write(one.line + b"\n")
        count += 1
        for text in encode_records([one.record], "jsonl"):
            records.write(text.encode())
    return count, lines


def _pack(members: list[_Member], output: IO[bytes], time_s: int) -> None:
    # No name and no time in the gzip header: two bundles of the same content are the same bytes.
    with (
        gzip.GzipFile("", "wb", fileobj=output, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size, info.mtime, info.mode = member.size, time_s, _MODE
            member.file.seek(0)
            archive.addfile(info, member.file)


def _check(archive: tarfile.TarFile) -> BundleCheck:
    seen: dict[str, tuple[str, str]] = {}
    kept = {MANIFEST: b"", SIGNATURE: b""}
    problems: list[str] = []
    for info in archive:
        file = archive.extractfile(info) if info.isfile() else None
        if file is None or info.name in seen or len(seen) >= _MEMBERS_MAX:
            problems.append(f"{info.name!r} has no business here")
            continue
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            if info.name in kept and info.size <= _MANIFEST_BYTES_MAX:
                kept[info.name] += chunk
        seen[info.name] = digest.hexdigest(), str(info.size)
    return _judge(kept[MANIFEST], kept[SIGNATURE], seen, problems)


def _judge(
    manifest: bytes, signature: bytes, seen: dict[str, tuple[str, str]], problems: list[str]
) -> BundleCheck:
    document = cast("object", json.loads(manifest)) if manifest else None
    match document:
        case {
            "kind": str(kind),
            "key_id": str(key_id),
            "public_key": str(text),
            "members": list(),
            "time_unix_nano": str(time),
        } if kind == KIND:
            members = cast("list[object]", cast("dict[str, object]", document)["members"])
        case _:
            return BundleCheck(problems=[*problems, f"{MANIFEST} is missing or of another kind"])
    public_key = decode_base64(text, PUBLIC_KEY_BYTES)
    given = decode_base64(signature.decode(errors="replace").strip(), SIGNATURE_BYTES)
    digest = hashlib.sha256(manifest).digest()
    if public_key is None or key_id_of(public_key) != key_id:
        problems.append("the key id is not that of the public key")
    elif given is None or not verify_signature(public_key, given, digest):
        problems.append("the signature of the manifest does not hold")
    named: set[str] = set()
    for member in members:
        match member:
            case {"name": str(name), "sha256": str(expected), "size": str(size)}:
                named.add(name)
                if seen.get(name) != (expected, size):
                    problems.append(f"{name!r} is missing or was changed")
            case _:
                problems.append("the manifest names a member without saying what it is")
    problems += [
        f"{name!r} is not in the manifest" for name in seen.keys() - named - {MANIFEST, SIGNATURE}
    ]
    return BundleCheck(
        problems=problems,
        key_id=key_id,
        public_key=text,
        time_unix_nano=time,
        members=len(seen),
    )


def read_bundle_member(data: bytes, name: str) -> bytes:
    """Return one member of a bundle; raises ``KeyError`` if it has none of that name."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        file = archive.extractfile(name)
        assert file is not None, "a member is a file"
        return file.read()
