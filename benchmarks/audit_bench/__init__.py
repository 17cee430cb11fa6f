"""The harness of ``benchmarks/audit.py``: one way to measure every audit store."""
