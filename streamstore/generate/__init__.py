"""Made-up records by a template or a scenario, at the times of an arrival process, to any target."""

from __future__ import annotations

from streamstore.generate.arrivals import Arrivals, Bursts, Constant, FlatOut, Periodic, Poisson
from streamstore.generate.filler import Filler
from streamstore.generate.generating import Generated, Generator, Source, preview
from streamstore.generate.scenarios import SCENARIOS, scenario
from streamstore.generate.sizes import Sizes
from streamstore.generate.skew import Keys
from streamstore.generate.template import Template, TemplateError

__all__ = [
    "Arrivals",
    "Bursts",
    "Constant",
    "Filler",
    "FlatOut",
    "Generated",
    "Generator",
    "Keys",
    "Periodic",
    "Poisson",
    "SCENARIOS",
    "Sizes",
    "Source",
    "Template",
    "TemplateError",
    "preview",
    "scenario",
]
