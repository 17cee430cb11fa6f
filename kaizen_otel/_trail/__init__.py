"""Tools over trails and spools: ask, follow, compare, empty.  Never imported by the emitter."""
