"""A real Kubernetes cluster of one node, for tests: its programs, its start, its end.

``python -m tests.cluster.kit up`` starts it and ``down`` ends it; tests use ``cluster()``.
"""
