"""A server of the tests that answers for the time of a with statement."""

from __future__ import annotations

import http.server
import threading
from typing import Self


class BackgroundServer(http.server.ThreadingHTTPServer):
    """Serves in a thread of its own."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
