"""The Collector beside the agent: find or build a binary, check a configuration, run it.

Tools around the emitter; the emitter never imports them.
"""
