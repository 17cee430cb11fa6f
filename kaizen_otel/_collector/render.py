"""Select overlays for a shipped config, merge them as the Collector does, and judge the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import lint
from kaizen_otel._collector.overlays import check_selection, ordered, parse_overlay
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, collector_directory
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaizen_otel._collector.config_tree import Node
    from kaizen_otel._collector.lint import Report
    from kaizen_otel._collector.overlays import Overlay


_STRING: Final = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One merged config and what the linter says of it."""

    text: str
    files: tuple[str, ...]
    environment: tuple[str, ...]
    """Variables that the chosen overlays need and that have no default."""
    report: Report


def overlays() -> dict[str, Overlay]:
    """The shipped overlays by name.  Raises ConfigError for one without a header."""
    found: dict[str, Overlay] = {}
    for path in sorted((collector_directory() / "config" / "overlays").glob("*.yaml")):
        overlay = parse_overlay(path.read_text(encoding="utf-8"), path.stem)
        if overlay is None:
            raise ConfigError(f"{path}: no line '# kaizen-overlay: for=...'")
        found[path.stem] = overlay
    return found


def render(base: str, names: Sequence[str]) -> Rendered:
    """A shipped config with overlays.

    Raises ConfigError when the base is none of ours or the overlays do not go together.
    """
    if base not in SHIPPED_CONFIGS:
        raise ConfigError(f"no shipped config {base!r}: one of {', '.join(SHIPPED_CONFIGS)}")
    known = overlays()
    check_selection(base, names, known)
    chosen = ordered(names, known)
    folder = collector_directory() / "config"
    paths = [folder / f"{base}.yaml", *(folder / "overlays" / f"{name}.yaml" for name in chosen)]
    source = read_configs(paths)
    environment = sorted({name for each in chosen for name in known[each].environment})
    head = [f"# {' + '.join([base, *chosen])}, merged by kaizen-otel collector render."]
    if environment:
        head.append(f"# Set: {', '.join(environment)}")
    return Rendered(
        text="\n".join([*head, dump(source.root)]),
        files=tuple(path.name for path in paths),
        environment=tuple(environment),
        report=lint(source, load_facts()),
    )


def dump(root: Node) -> str:
    """A tree as YAML that the Collector reads as it reads the files that the tree came from."""
    # Wide lines: a folded scalar would be another text once ${...} is in it.
    return yaml.dump(
        _plain(root), Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=10_000
    )


class _Text(str):
    """A scalar that was quoted: it stays text."""

    __slots__ = ()


class _Raw(str):
    """A scalar that was not quoted: its type is found by whoever reads it."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes scalars as they were written."""

    def ignore_aliases(self, data: object) -> bool:
        """Write each value out; nothing is shared in what people read."""
        del data
        return True


def _represent_text(dumper: Any, value: _Text) -> yaml.ScalarNode:  # noqa: ANN401 - no types
    node: yaml.ScalarNode = dumper.represent_scalar(_STRING, str(value), style='"')
    return node


def _represent_raw(dumper: Any, value: _Raw) -> yaml.ScalarNode:  # noqa: ANN401 - no types
    # The tag that a plain scalar has by itself, so that it stays plain.
    tag = dumper.resolve(yaml.ScalarNode, str(value), (True, False))
    node: yaml.ScalarNode = dumper.represent_scalar(tag, str(value))
    return node


_Dumper.add_representer(_Text, _represent_text)
_Dumper.add_representer(_Raw, _represent_raw)


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    if node.value is None:
        return None
    return (_Text if node.quoted else _Raw)(node.value)
