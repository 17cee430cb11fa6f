"""The errors this package raises: one class per reaction of the caller.

Every message says what happened to the data and which setting to change.  A library never exits
the process; the command line maps these classes to exit codes.
"""

from __future__ import annotations


class KaizenOtelError(Exception):
    """Base of all errors of this package; never raised itself."""

    exit_code = 1


class ConfigError(KaizenOtelError, ValueError):
    """A setting has a value that cannot be used.  Reaction: correct the named setting."""

    exit_code = 2


class NotEnabledError(KaizenOtelError):
    """An integration cannot be enabled here.  Reaction: install the named package or version."""

    exit_code = 3


class ProviderExistsError(KaizenOtelError):
    """A global OpenTelemetry provider is already set, and OpenTelemetry lets it be set only once.

    Reaction: leave ``set_global`` off, or add our processor to the provider that is there.
    """

    exit_code = 3


class SetupError(KaizenOtelError):
    """A program that the tools need could not be obtained, started or reached.

    Reaction: install what the message names.
    """

    exit_code = 4


class PlatformError(KaizenOtelError):
    """This operating system cannot keep the promise that was asked for (audit on Windows)."""

    exit_code = 3


class SpoolError(KaizenOtelError):
    """An audit record was NOT stored.  Base of the reasons why."""

    exit_code = 5


class SpoolFullError(SpoolError):
    """The spool holds as many bytes as it may; the record was NOT stored."""

    def __init__(self, used_bytes: int, limit_bytes: int) -> None:
        """Say how much is used of how much, both in bytes."""
        self.used_bytes = used_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"spool holds {used_bytes} of {limit_bytes} bytes, record NOT stored: raise "
            "KAIZEN_OTEL_SPOOL_BYTES_MAX or restore the Collector that empties it "
            "(KAIZEN_OTEL_AUDIT_ENDPOINT)"
        )


class SpoolFailedError(SpoolError):
    """The disk refused a write or a sync.  What was not acknowledged before is NOT stored."""


class RecordTooLargeError(SpoolError):
    """One audit record is larger than any part of the way may carry; it was NOT stored."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        """Say the record's size and the limit, both in bytes."""
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"audit record of {size_bytes} bytes is over the limit of {limit_bytes} bytes, "
            "record NOT stored: shorten its attributes"
        )


class AuditUnavailableError(KaizenOtelError):
    """An action was refused because its intent could not be made durable first.

    Raised only with ``on_failure=block_action``.  Reaction: mend the spool, then try again.
    """

    exit_code = 5


class SubjectKeyError(KaizenOtelError):
    """The key of a subject cannot be read, unwrapped, made durable or erased.

    Reaction: mend the key store that ``KAIZEN_OTEL_SUBJECT_KEYS`` names, or give the right master
    key.
    """

    exit_code = 5
