"""``kaizen-otel collector queue``: whether a running Collector has delivered everything."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from kaizen_otel._collector.queue import waiting


@click.command("queue", short_help="Ask Collectors what waits in their queues.")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def queue_command(context: click.Context, /, *, urls: tuple[str, ...], as_json: bool) -> None:
    """Ask Collectors what waits in their queues, by their metrics, http://HOST:8888/metrics.

    The numbers are in the measure of the queues, which is bytes in the configs of kaizen-otel.
    Exit codes: 0 nothing waits, 2 something does, 4 a Collector does not answer.
    """
    found = {url: waiting(url) for url in urls}
    total = sum(one.size for queues in found.values() for one in queues)
    if as_json:
        shown = {url: [asdict(one) for one in queues] for url, queues in found.items()}
        click.echo(json.dumps({"waiting": total, "collectors": shown}))
    else:
        for url, queues in found.items():
            for one in queues:
                if one.size:
                    click.echo(f"{url}: {one.size} wait, {one.signal} for {one.exporter}")
        click.echo(f"{total} wait in {len(urls)} Collectors")
    context.exit(2 if total else 0)
