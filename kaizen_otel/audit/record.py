"""One audited fact: its names and what every record must say.

Names are those of the OpenTelemetry audit draft (OTEP 0267, fork apeirora/opentelemetry-
specification, branch ``auditing``), which has moved names twice: they are written down here and
nowhere else, and ``audit.schema.version`` says which state of them a record uses.

| attribute | content |
|---|---|
| ``audit.record.id`` | UUIDv7; readers drop duplicates by it |
| ``audit.schema.version`` | of this table |
| ``audit.action`` | EXECUTE, READ, WRITE, APPROVE, REJECT, START, END ... or the caller's own |
| ``audit.outcome`` | success, failure, unknown; a denial is failure with ``kaizen.decision`` deny |
| ``audit.actor.id``, ``.type`` | who: user (a pseudonym), service (the agent) or system |
| ``audit.target.id``, ``.type`` | on what |
| ``audit.sequence.stream_id``, ``.number`` | place in the stream, set when it is stored |
| ``audit.sequence.previous_hash`` | hash of the record before it, absent in the first one |
| ``audit.sequence.end`` | "true" in the last record of a stream that was closed |
| ``audit.integrity.certificate`` | of a signed record: the key id |
| ``audit.integrity.value`` | of a signed record: the Ed25519 signature of its hash, in base64 |
| ``kaizen.audit.resource_hash`` | binds the Resource that the producer sent with the record |
| ``kaizen.audit.phase``, ``.intent_id`` | intent before a side effect, outcome after it |
| ``kaizen.action`` | the caller's word for the action, as given to ``record()`` |
| ``gen_ai.*``, ``session.id`` | correlation with the spans; not trusted for identity |
| ``kaizen.hmac.*``, ``kaizen.bytes.*`` | content: its HMAC and its size, never itself |

The draft takes the previous hash from the receiver's answer, which costs a round trip for each
record, and puts algorithm and certificate on the Resource; here the producer chains, offline, and
the certificate stands in the record that it signs.  Values are strings, integers and lists of
strings; attributes are written in the order of their names (``audit.canonical``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION: Final = "1.1.0"

RECORD_ID: Final = "audit.record.id"
SCHEMA: Final = "audit.schema.version"
ACTION: Final = "audit.action"
OUTCOME: Final = "audit.outcome"
ACTOR_ID: Final = "audit.actor.id"
ACTOR_TYPE: Final = "audit.actor.type"
TARGET_ID: Final = "audit.target.id"
TARGET_TYPE: Final = "audit.target.type"
STREAM_ID: Final = "audit.sequence.stream_id"
SEQUENCE: Final = "audit.sequence.number"
PREVIOUS_HASH: Final = "audit.sequence.previous_hash"
END: Final = "audit.sequence.end"
INTEGRITY_CERTIFICATE: Final = "audit.integrity.certificate"
INTEGRITY_VALUE: Final = "audit.integrity.value"
RESOURCE_HASH: Final = "kaizen.audit.resource_hash"
PUBLIC_KEY: Final = "kaizen.audit.public_key"
KEY_ID: Final = "kaizen.audit.key_id"
KEY_PROOF: Final = "kaizen.audit.key_proof"
PREVIOUS_STREAM_ID: Final = "kaizen.audit.previous_stream_id"
CHECKPOINT_REASON: Final = "kaizen.audit.checkpoint.reason"
PRUNED_STREAM_ID: Final = "kaizen.audit.pruned.stream_id"
PRUNED_SEQUENCE: Final = "kaizen.audit.pruned.number"
PRUNED_HASH: Final = "kaizen.audit.pruned.hash"
SUBJECT: Final = "kaizen.audit.subject"
PHASE: Final = "kaizen.audit.phase"
INTENT_ID: Final = "kaizen.audit.intent_id"
CALLER_ACTION: Final = "kaizen.action"
GAP_REASON: Final = "kaizen.audit.gap.reason"
GAP_COUNT: Final = "kaizen.audit.gap.count"
GAP_STREAM_ID: Final = "kaizen.audit.gap.stream_id"
GAP_RANGES: Final = "kaizen.audit.gap.sequences"
GAP_SINCE: Final = "kaizen.audit.gap.since"

EVENT_STARTED: Final = "kaizen.audit.started"
EVENT_STOPPED: Final = "kaizen.audit.stopped"
EVENT_CHECKPOINT: Final = "kaizen.audit.checkpoint"
EVENT_KEY_ROTATED: Final = "kaizen.audit.key_rotated"
EVENT_PRUNED: Final = "kaizen.audit.pruned"
EVENT_ERASED: Final = "kaizen.audit.erased"
EVENT_ACCESSED: Final = "kaizen.audit.accessed"
EVENT_GAP: Final = "kaizen.audit.gap"
EVENT_OTHER: Final = "kaizen.audit.record"

OWN_EVENTS: Final = frozenset({EVENT_STARTED, EVENT_CHECKPOINT, EVENT_STOPPED, EVENT_KEY_ROTATED})
"""What a stream says about itself: each is signed, and is an anchor outside of the trail."""

Phase = Literal["intent", "outcome"]
Result = Literal["success", "failure", "denied"]

# Whoever could set these would write another record's identity, place or signature.
_WRITERS_OWN: Final = frozenset({RECORD_ID, SCHEMA, RESOURCE_HASH})
_WRITERS_PREFIXES: Final = ("audit.sequence.", "audit.integrity.")

# Kaizen's words for an action: the event and the draft's action that they stand for.
_ACTIONS: Final = {
    "tool_execute": (semconv.EVENT_TOOL_EXECUTE, "EXECUTE"),
    "tool_denied": (semconv.EVENT_TOOL_DENIED, "REJECT"),
    "permission_grant": (semconv.EVENT_APPROVAL_DECIDED, "APPROVE"),
    "permission_deny": (semconv.EVENT_APPROVAL_DECIDED, "REJECT"),
    "checkpoint_save": (semconv.EVENT_CHECKPOINT_SAVE, "WRITE"),
    "checkpoint_load": ("kaizen.checkpoint.load", "READ"),
    "interrupt_triggered": (semconv.EVENT_INTERRUPT, "EXECUTE"),
}
_ACTION_OF_EVENT: Final = {
    semconv.EVENT_TOOL_EXECUTE: "EXECUTE",
    semconv.EVENT_TOOL_DENIED: "REJECT",
    semconv.EVENT_APPROVAL_REQUESTED: "REQUEST",
    semconv.EVENT_APPROVAL_DECIDED: "APPROVE",
    semconv.EVENT_MODEL_CALL: "EXECUTE",
    semconv.EVENT_MEMORY_READ: "READ",
    semconv.EVENT_MEMORY_WRITE: "WRITE",
    semconv.EVENT_CHECKPOINT_SAVE: "WRITE",
    semconv.EVENT_AGENT_START: "START",
    semconv.EVENT_AGENT_END: "END",
    semconv.EVENT_INTERRUPT: "EXECUTE",
}
_TARGETS: Final = (
    (semconv.GEN_AI_TOOL_NAME, "gen_ai.tool"),
    (semconv.GEN_AI_REQUEST_MODEL, "gen_ai.model"),
    (semconv.GEN_AI_MEMORY_STORE_ID, "gen_ai.memory.store"),
    (semconv.GEN_AI_AGENT_NAME, "gen_ai.agent"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One audited fact: ids as bytes, times in nanoseconds since the Unix epoch.

    ``attributes`` hold no content; ``record_id`` is the idempotency key and never changes.
    """

    record_id: str
    time_ns: int
    event_name: str
    attributes: Mapping[str, object] = field(default_factory=dict[str, object])
    trace_id: bytes = b""
    span_id: bytes = b""
    observed_ns: int = 0
    resource_hash: str = ""


def attributes_of(record: AuditRecord) -> dict[str, object]:
    """Return all attributes of a record but its place, also those that every record has.

    A caller's attribute with a name that is the writer's own is kept under another name.
    """
    attributes: dict[str, object] = {
        RECORD_ID: record.record_id,
        SCHEMA: SCHEMA_VERSION,
        **defaults_of(record.event_name, record.attributes),
    }
    if record.resource_hash:
        attributes[RESOURCE_HASH] = record.resource_hash
    given = record.attributes
    ours = _writers_own(tuple(given))
    if not ours:
        attributes.update(given)
        return attributes
    for name, value in given.items():
        attributes[f"kaizen.caller.{name}" if name in ours else name] = value
    return attributes


@lru_cache(maxsize=512)
def _writers_own(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        name for name in given if name in _WRITERS_OWN or name.startswith(_WRITERS_PREFIXES)
    )


def defaults_of(event_name: str, attributes: Mapping[str, object]) -> dict[str, object]:
    """Return what an audit record must say and the caller left out.

    PCI DSS 10.2.2 asks for user, type, time, outcome, origin and resource.
    """
    result: dict[str, object] = {}
    if ACTION not in attributes:
        result[ACTION] = _ACTION_OF_EVENT.get(event_name, "EXECUTE")
    if OUTCOME not in attributes:
        result[OUTCOME] = "unknown"
    if ACTOR_ID not in attributes:
        agent = next(
            (
                attributes[name]
                for name in (
                    semconv.GEN_AI_AGENT_ID,
                    semconv.KAIZEN_AGENT_ID,
                    semconv.GEN_AI_AGENT_NAME,
                )
                if attributes.get(name)
            ),
            "",
        )
        result[ACTOR_ID] = agent or "unknown"
        result.setdefault(ACTOR_TYPE, "service" if agent else "system")
    if TARGET_ID not in attributes:
        for name, kind in _TARGETS:
            if attributes.get(name):
                result[TARGET_ID] = attributes[name]
                result[TARGET_TYPE] = kind
                break
    return result


def event_of_action(action: str) -> tuple[str, str]:
    """Return the event name and the draft's action for the caller's word for an action."""
    return _ACTIONS.get(action, (EVENT_OTHER, action))


def action_of_event(event_name: str) -> str:
    """Return Kaizen's word for an event, or the event's name."""
    for action, (event, _) in _ACTIONS.items():
        if event == event_name:
            return action
    return event_name


def outcome_of_result(result: str) -> dict[str, object]:
    """Return outcome and decision, which are never merged, for Kaizen's ``result``."""
    if result == "denied":
        return {OUTCOME: "failure", semconv.KAIZEN_DECISION: "deny"}
    return {OUTCOME: result if result in {"success", "failure"} else "unknown"}
