"""``kaizen-otel stack image``: an image of our programs as a file, where no registry is reached."""

from __future__ import annotations

from pathlib import Path

import click

from kaizen_otel._stack.build import say

NAMES = ("collector", "tools", "jaeger", "prometheus", "elasticsearch")


@click.command(short_help="Write an image to a file, without engine and registry.")
@click.argument("name", type=click.Choice(NAMES))
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option(
    "--tag",
    metavar="NAME:TAG",
    help="The image's own name, such as registry.example.com/observability/kaizen-otel-tools:1.0.",
)
def image(*, name: str, file: Path, tag: str | None) -> None:
    """Write an image for "docker load" and "ctr images import": no engine and no registry is asked.

    collector is our distribution, tools is Python with kaizen-otel (both for the
    chart's image.registry), the others are the backends of the local stack.  All run as user 10001.
    """
    from kaizen_otel._stack.image_file import write_image
    from kaizen_otel._stack.images import image_spec
    from kaizen_otel._stack.tools_image import tools

    spec = tools(progress=say) if name == "tools" else image_spec(name, progress=say)
    tag = tag or f"kaizen-otel-{name}:latest"
    write_image(spec, file, name=tag)
    click.echo(f"{file}: {tag}")
