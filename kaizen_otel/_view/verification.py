"""The verdict on the trail that is shown, worked out beside the page, once per state of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.keys import read_trust
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel._trail.verify_words import verdict_json, verdict_lines
from kaizen_otel.errors import KaizenOtelError

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._render import Json


class Verification:
    """Verifies a folder's trail in a thread; asking never waits."""

    def __init__(self, directory: Path, *, trust_file: str | None = None) -> None:
        """``directory`` has ``audit/`` and, as anchors, the ordinary ``logs.jsonl``."""
        self._directory = directory
        self._trust_file = trust_file
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._of: object = None
        self._answer: Json = {"state": "none"}

    def answer(self, *, wait: bool = False) -> Json:
        """Return the verdict, or what is known while it is worked out (``state``).

        ``none``: there is no trail; ``running``; ``done``, of the trail as it is now; ``stale``: of
        what it was, while the new one is worked out; ``failed``, with a ``message``.
        """
        with self._lock:
            now = self._state()
            if now is None:
                return {"state": "none"}
            if now != self._of and self._thread is None:
                self._of = now
                if self._answer["state"] == "done":
                    self._answer = {**self._answer, "state": "stale"}
                else:
                    self._answer = {"state": "running"}
                # Not waited for at exit: it only reads.
                self._thread = threading.Thread(
                    target=self._run, name="kaizen-otel-view-verify", daemon=True
                )
                self._thread.start()
            thread = self._thread
            answer = self._answer
        if wait and thread is not None:
            thread.join()
            return self._answer
        return answer

    def _run(self) -> None:
        try:
            answer = self._verify()
        except (KaizenOtelError, OSError) as error:
            answer = {"state": "failed", "message": str(error)}
        with self._lock:
            self._answer = answer
            self._thread = None

    def _verify(self) -> Json:
        filesystem = OsFilesystem()
        warnings: list[str] = []
        trust = None
        if self._trust_file is not None:
            trust = read_trust(self._trust_file, filesystem=filesystem, warn=warnings.append)
        logs = self._directory / "logs.jsonl"
        verdict = verify(
            Sources(
                trails=(str(self._directory / "audit"),),
                anchors=(str(logs),) if logs.is_file() else (),
            ),
            settings=Settings(trust=trust),
            filesystem=filesystem,
        )
        return {
            "state": "done",
            "warnings": warnings,
            "words": list(verdict_lines(verdict)),
            **verdict_json(verdict),
        }

    def _state(self) -> object:
        """Return what changes when the trail does; None if there is no trail."""
        try:
            found = sorted(
                (path.name, path.stat().st_size)
                for path in (self._directory / "audit").glob("audit*.jsonl")
            )
        except OSError:
            return None
        return found or None
