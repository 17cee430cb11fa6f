"""The audit part: what a record is, what may be in it, how stored records are asked for."""

from kaizen_otel.audit._content import PUBLIC_DETAILS
from kaizen_otel.audit.query import AuditEntry, Filter, StoredRecord
from kaizen_otel.audit.record import SCHEMA_VERSION, AuditRecord
from kaizen_otel.audit.status import AuditStatus

__all__ = [
    "PUBLIC_DETAILS",
    "SCHEMA_VERSION",
    "AuditEntry",
    "AuditRecord",
    "AuditStatus",
    "Filter",
    "StoredRecord",
]
