"""Local backends for proof: real Jaeger, Prometheus and OpenSearch, and the Collector before them.

They run as processes of this machine (`NativeStack`) or, with Grafana, Elasticsearch and Kibana, as
containers (`compose.ComposeStack`), on 127.0.0.1 only.  What has to be built or fetched is kept in
``$XDG_CACHE_HOME/kaizen-otel``, what runs is noted in ``$XDG_STATE_HOME/kaizen-otel/stack``.  The
emitter never imports this part.
"""

from kaizen_otel._stack.build import ToolMissingError
from kaizen_otel._stack.native import COMPONENTS, ComponentStatus, NativeStack
from kaizen_otel._stack.ports import StackPorts

__all__ = ["COMPONENTS", "ComponentStatus", "NativeStack", "StackPorts", "ToolMissingError"]
