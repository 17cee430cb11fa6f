"""``opentelemetry-instrument`` finds us here: the standard distro and configurator entry points.

``opentelemetry-instrument python app.py`` then sends what the instrumentations of the process
produce through our exporter, without a line of code.  Packages: ``opentelemetry-instrumentation``
for the distro, ``kaizen-otel[sdk]`` for the configurator.  With other distributions installed
beside us, ``OTEL_PYTHON_DISTRO=kaizen_otel`` and ``OTEL_PYTHON_CONFIGURATOR=kaizen_otel`` choose.
"""

from __future__ import annotations

from opentelemetry.instrumentation.distro import (  # type: ignore[attr-defined]  # it has no types
    BaseDistro,
)
from opentelemetry.sdk._configuration import (
    _BaseConfigurator,  # pyright: ignore[reportPrivateUsage]  # made for distros to subclass
)

from kaizen_otel.providers import logger_provider, meter_provider, tracer_provider


class Distro(BaseDistro):  # type: ignore[misc]  # as above
    """Needs nothing set up before the configurator runs."""

    def _configure(self, **kwargs: object) -> None:
        del kwargs


class Configurator(_BaseConfigurator):
    """Makes our three providers the process's."""

    def _configure(self, **kwargs: object) -> None:
        del kwargs  # the automatic instrumentation's own version, which is nobody's attribute here
        tracer_provider(set_global=True)
        meter_provider(set_global=True)
        logger_provider(set_global=True)
