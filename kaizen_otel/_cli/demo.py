"""``kaizen-otel demo``: parse, call, print."""

from __future__ import annotations

import click


@click.command(short_help="A real agent, a real Collector, and what arrived.")
@click.option(
    "--stack",
    type=click.Choice(["embedded", "full"]),
    default="embedded",
    show_default=True,
    envvar="STACK",
    help="embedded: the Collector writes files; full: Jaeger, Prometheus and OpenSearch too.",
)
@click.option(
    "--model",
    type=click.Choice(["mock", "openai"]),
    default="mock",
    show_default=True,
    envvar="MODEL",
    help="mock runs offline; openai uses OPENAI_API_KEY.",
)
def demo(stack: str, model: str) -> None:
    """Run a real Kaizen agent through a real Collector and print what arrived."""
    if stack == "full":
        from kaizen_otel._demo_full import run_full

        run_full(model=model, say=click.echo)
    else:
        from kaizen_otel._demo import run_embedded

        run_embedded(model=model, say=click.echo)
