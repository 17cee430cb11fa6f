"""The audit part: what a record is, what may be in it, how stored records are asked for."""

from kaizen_otel.audit.query import AuditEntry, Filter, StoredRecord
from kaizen_otel.audit.record import SCHEMA_VERSION, AuditRecord, encode_record

__all__ = [
    "SCHEMA_VERSION",
    "AuditEntry",
    "AuditRecord",
    "Filter",
    "StoredRecord",
    "encode_record",
]
