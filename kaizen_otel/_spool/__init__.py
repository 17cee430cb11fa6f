r"""The spool: append-only files in which records survive until a receiver has taken them.

It knows bytes, not audit records.  Layers: ``segment`` is the format (pure), ``reader``,
``writer`` and ``stream`` are the files, ``spool`` and ``shipper`` are the policy, ``store`` joins
them.

Directory
---------
::

    <spool root>/                        KAIZEN_OTEL_SPOOL_DIR, mode 0700, shared by processes
      pseudonym.key                      32 random bytes, mode 0600
      signing.key                        PEM, mode 0600: signs if no other key is configured
      subjects.key                       32 random bytes, mode 0600: opens the keys of subjects
      <stream id>/                       one per process epoch (UUIDv7); a fork makes its own
        lock                             flock: held while the process lives
        00000001.segment ...             never written again once rolled or failed
        cursor                           how far it was delivered; losing it costs duplicates
        reconciled                       how far it was found in the trail, if anyone has looked
      quarantine/<stream id>-<n>.segment records that the receiver never takes, one per file
      .<stream id>/                      being made; no stream yet

A stream whose lock is free belongs to a dead process: the next one ships and removes it.

Segment, format version 1
-------------------------
Little-endian.  A segment is a header and entries, one after the other::

    header                               entry
     0  8  "kzspool\n"                     0  4  size of the payload
     8  2  format version                 4  4  CRC-32C of bytes 0-3, 8-21 and the payload
    10  2  0                              8  2  marker a5 4b
    12 16  stream id                     10  1  flags: 1 begins a commit, 2 holds a Resource
    28  8  segment number                11  1  0
    36  8  first sequence number         12  2  index of the Resource (0: the header's)
    44  8  time of creation, ns          14  8  sequence number (0 with flag 2)
    52  4  size of the Resource          22  n  payload
    56  n  Resource (OTLP message)
    +n  4  CRC-32C of all before

The payload is one OTLP LogRecord, or with flag 2 a Resource to which later entries refer.  The
sequence number stands beside the record, so that order, cursor and duplicates need no decoding;
what a hash chain or a signature adds is part of the record and changes nothing here.

*Begins a commit* promises that every byte before the entry was durable when it was written.
Unreadable bytes before such an entry are damage and are reported.  Unreadable bytes with no such
entry behind them are a torn tail: a write that was never acknowledged, of which the disk kept any
part.  Sound entries are used wherever they stand.

A number is given once.  If a write fails it is tried once more, in a new segment, with the same
bytes; if that fails too the numbers are *burned*: they may be on the disk and are not used again.

What a fault can take away
--------------------------
*Acknowledged* means that the future of ``append`` has given a number.

==================================  ==========================================================
the process or machine stops while  what the next process finds
==================================  ==========================================================
a key is made                       no key or the whole one; nothing was signed or hashed
a directory is made                 a hidden directory, removed after an hour
a segment is made                   a file without a whole header and without a record
a batch is written                  a torn tail; nothing of it was acknowledged
a batch is synced                   all, a part or nothing of it; nothing was acknowledged
a request is under way              the record waits and is sent (again)
a cursor is written                 the older cursor: records of 0.2 s are sent again
a record is set aside               it is set aside again, into the same file
a delivered segment is removed      the segment or nothing; it was delivered
==================================  ==========================================================

==================================  ==========================================================
the disk answers                    and then
==================================  ==========================================================
a write was short                   the rest is written
no space, quota, read-only          the block is cut off, its records are refused, the file is
                                    used again when there is room
another error on write              the file is given up; once more into a new one, else refused
an error on sync                    the same: a second sync of that file would say yes and mean
                                    nothing
an error on closing                 nothing: all that was acknowledged is synced
==================================  ==========================================================

Durable is not delivered: a record is delivered when the receiver answered 2xx and rejected
nothing.  A receiver may still lose what it had not synced, so delivered segments stay for 15
minutes (one minute if they were found in the trail), and what was delivered in the last minute
before the last answer on a connection is sent again when that connection is gone, also if it was
idle: 45 s after the last delivery one empty request asks for a sign of life on it.
Not covered, and found by reconciling only: the receiver's machine loses power within about 35 s
after the last delivery of a process that ended in order and is back before the next process
sends to it; a proxy that keeps our connection while the machine behind it restarts; gRPC, which
makes new connections by itself; a server that closes the connection after each answer; a
receiver whose disk needs more than a minute to write back.
With ``durability=none`` nothing is synced: records survive the process, not the machine.

Proven by ``tests/crash``: every call fails, the machine stops before every call, faults in any
order, SIGKILL; and each of these tests fails when one safety is taken out.
"""
