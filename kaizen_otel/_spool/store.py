"""A spool and the shipper that empties it, as one thing to open, flush, shut down, abandon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import secret_bytes
from kaizen_otel._export import Rejected
from kaizen_otel._spool.secrets import SecretFile, read_or_make_secret, read_secret
from kaizen_otel._spool.shipper import Shipper
from kaizen_otel._spool.spool import Spool
from kaizen_otel.errors import KaizenOtelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem, Ids
    from kaizen_otel._export import Outcome, Signal, Transport
    from kaizen_otel._spool.framing import Finish, Framing
    from kaizen_otel._spool.segment import Gap
    from kaizen_otel.config import EndpointConfig

KEY_BYTES: Final = 32
_PSEUDONYM_KEY: Final = SecretFile(
    name="pseudonym.key",
    lock_name="pseudonym.lock",
    bytes_max=KEY_BYTES,
    is_whole=lambda found: len(found) == KEY_BYTES,
    make=lambda: secret_bytes(KEY_BYTES),
)
_MILLISECOND_NS: Final = 10**6
_STOP_MS: Final = 200


class Store:
    """Where the records of one process epoch go.  Nothing touches the disk before the first one."""

    def __init__(
        self,
        directory: str,
        *,
        resource: bytes,
        transport: Transport,
        filesystem: Filesystem,
        clock: Clock,
        ids: Ids,
        bytes_max: int,
        timeout_ms: int,
        is_durable: bool,
        finish: Finish,
        framing: Framing,
        warn: Callable[[str], None],
        on_gap: Callable[[Gap], None],
        on_step: Callable[[], int],
    ) -> None:
        self._clock = clock
        self.spool = Spool(
            directory,
            resource=resource,
            filesystem=filesystem,
            clock=clock,
            ids=ids,
            bytes_max=bytes_max,
            is_durable=is_durable,
            finish=finish,
            framing=framing,
            on_stored=self._notice_stored,
            warn=warn,
        )
        self.shipper = Shipper(
            directory,
            spool=self.spool,
            transport=transport,
            filesystem=filesystem,
            clock=clock,
            random_fraction=ids.fraction,
            timeout_ms=timeout_ms,
            warn=warn,
            on_gap=on_gap,
            on_step=on_step,
        )
        # What a forked child must not close: sockets of the parent.
        self.transport = transport

    def flush(self, timeout_ms: int) -> bool:
        """Make everything appended so far durable and deliver it; False if time was up."""
        deadline_ns = self._clock.monotonic_ns() + timeout_ms * _MILLISECOND_NS
        return self.spool.flush(timeout_ms) and self.shipper.flush(self._left_ms(deadline_ns))

    def shutdown(self, timeout_ms: int) -> bool:
        """Store what waits, deliver what can be, give the directory to the next process.

        True if everything was delivered.  What was not stays in the spool.
        """
        deadline_ns = self._clock.monotonic_ns() + timeout_ms * _MILLISECOND_NS
        if not self.spool.close(timeout_ms):
            return False
        reserve_ms = min(_STOP_MS, timeout_ms // 4)
        is_delivered = self.shipper.flush(max(0, self._left_ms(deadline_ns) - reserve_ms))
        if self.shipper.stop(self._left_ms(deadline_ns)):
            self.spool.release()
        return is_delivered

    def abandon(self) -> None:
        """Let go of everything in a forked child: all of it is still the parent's."""
        self.spool.abandon()
        self.shipper.abandon()

    def _left_ms(self, deadline_ns: int) -> int:
        return max(0, (deadline_ns - self._clock.monotonic_ns()) // _MILLISECOND_NS)

    def _notice_stored(self) -> None:
        self.shipper.notice_stored()


def read_or_make_key(directory: str, *, filesystem: Filesystem, clock: Clock) -> bytes:
    """Return the pseudonym key of this spool root, which is made once and shared.

    Raises ``OSError`` if it can neither be read nor made durable.
    """
    return read_or_make_secret(_PSEUDONYM_KEY, directory, filesystem=filesystem, clock=clock)


def read_key(directory: str, *, filesystem: Filesystem) -> bytes:
    """Return the key of a spool root, or nothing if there is none or it is incomplete."""
    return read_secret(_PSEUDONYM_KEY, directory, filesystem=filesystem)


class _LateTransport:
    """A transport that cannot be opened yet: records stay in the spool, each send tries again.

    A file that it needs, a certificate or a token, may come later than the agent.
    """

    def __init__(self, endpoint: str, make: Callable[[], Transport]) -> None:
        self.description = endpoint
        self._make = make
        self._made: Transport | None = None

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Open it and send, or say why nothing can be sent."""
        if self._made is None:
            try:
                self._made = self._make()
            except (KaizenOtelError, OSError) as error:
                return Rejected(reason="config", message=str(error))
        return self._made.send(signal, body, deadline_ns=deadline_ns)

    def close(self) -> None:
        """Release the connection, if there is one."""
        if self._made is not None:
            self._made.close()


def open_or_explain(endpoint: EndpointConfig, *, clock: Clock) -> Transport:
    """Open the way to the audit receiver; as long as it cannot be, every send says why.

    A wrong setting must not keep records from being stored.
    """
    from kaizen_otel._export.transports import open_transport

    def make() -> Transport:
        return open_transport(endpoint, clock=clock, setting="KAIZEN_OTEL_AUDIT_ENDPOINT")

    try:
        return make()
    except (KaizenOtelError, OSError):
        return _LateTransport(endpoint.endpoint, make)
