"""OTLP as bytes: one function per message, values in, bytes out, and the way back.

Version: opentelemetry-proto 1.x.  Field numbers come from the ``.proto`` files
``opentelemetry/proto/{common,resource,trace,metrics,logs}/v1`` and
``opentelemetry/proto/collector/*/v1``; a field number is stable for ever within version 1
(opentelemetry-proto README, "Maturity Level").  The wire format is "Encoding" of the Protocol
Buffers documentation.

Nothing here reads a clock, takes a lock, logs, or raises for a value that a user passed.  The
caches are bounded and hold only bytes that are derived from their keys, so threads may race on
them harmlessly.
"""
