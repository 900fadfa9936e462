# SPDX-License-Identifier: BSD-3-Clause
"""What Linux folio mapcount designs cost: cache lines, atomics, wrong answers.

    >>> import folio_perf
    >>> comparison = folio_perf.compare("seed_thp_pte_map", schemes="page_mapcount,large_mapcount@6.12")
    >>> comparison.totals_frame()           # doctest: +SKIP

Numbers of this package are *modelled*: exact counts of a C model of Linux mm, and times that a machine's prices make of
them.
"""

from __future__ import annotations

from folio_perf._native.errors import FperfError
from folio_perf.cache import CacheHierarchy, CacheLevel, CacheStats, PageRange, SharedLine, TlbArray
from folio_perf.catastrophes import catastrophes
from folio_perf.claims import Claim, claims
from folio_perf.compare import DEFAULT_SCHEMES, compare
from folio_perf.contention import contention
from folio_perf.cost import price, price_matrix
from folio_perf.explain import explain
from folio_perf.geometry import FolioPolicy, Geometry, parse_size
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine, machine_names
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile, load_profile, profile_names
from folio_perf.results import AccessTrace, Case, Catastrophes, Comparison, Contention, EventRow, Explanation, Result
from folio_perf.scenario import (
    Scenario,
    ScenarioBuilder,
    ScenarioError,
    load_scenario,
    parse_scenarios,
    read_scenarios,
    scenario_description,
    scenario_names,
    scenario_text,
)
from folio_perf.schemes import SchemeInfo, SchemeSpec, parse_scheme_spec, parse_scheme_specs, scheme_info, scheme_names
from folio_perf.simulate import operation_names, operation_title, simulate, trace_operation
from folio_perf.traces import (
    Trace,
    TraceError,
    import_perf_script,
    load_trace,
    read_header,
    read_trace,
    trace_names,
    write_trace,
)
from folio_perf.workloads import workload, workload_description, workload_names, workload_parameters

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_KERNEL",
    "DEFAULT_MACHINE",
    "DEFAULT_SCHEMES",
    "AccessTrace",
    "CacheHierarchy",
    "CacheLevel",
    "CacheStats",
    "Case",
    "Catastrophes",
    "Claim",
    "Comparison",
    "Contention",
    "EventRow",
    "Explanation",
    "FolioPolicy",
    "FperfError",
    "Geometry",
    "KernelProfile",
    "Machine",
    "PageRange",
    "Result",
    "Scenario",
    "ScenarioBuilder",
    "ScenarioError",
    "SchemeInfo",
    "SchemeSpec",
    "SharedLine",
    "TlbArray",
    "Trace",
    "TraceError",
    "__version__",
    "catastrophes",
    "claims",
    "compare",
    "contention",
    "explain",
    "import_perf_script",
    "load_machine",
    "load_profile",
    "load_scenario",
    "load_trace",
    "machine_names",
    "operation_names",
    "operation_title",
    "parse_scenarios",
    "parse_scheme_spec",
    "parse_scheme_specs",
    "parse_size",
    "price",
    "price_matrix",
    "profile_names",
    "read_header",
    "read_scenarios",
    "read_trace",
    "scenario_description",
    "scenario_names",
    "scenario_text",
    "scheme_info",
    "scheme_names",
    "simulate",
    "trace_names",
    "trace_operation",
    "workload",
    "workload_description",
    "workload_names",
    "workload_parameters",
    "write_trace",
]
