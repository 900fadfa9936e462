# SPDX-License-Identifier: BSD-3-Clause
"""Kernel profiles and the table of schemes."""

from __future__ import annotations

import itertools
import pickle
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from csrc_names import macro_names, struct_fields
from hypothesis import given
from hypothesis import strategies as st

from folio_perf._native import engine
from folio_perf.profile import _CHANGES, DEFAULT_KERNEL, KernelProfile, load_profile, profile_names
from folio_perf.schemes import (
    SchemeSpec,
    parse_scheme_spec,
    parse_scheme_specs,
    scheme_info,
    scheme_names,
)

SHIPPED = Path(__file__).resolve().parents[1] / "folio_perf" / "profiles"
OWN_FIELDS = ("name", "released", "sources", "outside", "stand_in")


def test_names() -> None:
    assert profile_names() == ("5.17", "6.1", "6.12", "7.0")
    assert DEFAULT_KERNEL in profile_names()


def test_one_field_per_member_of_the_c_struct() -> None:
    members = [name for name, _ in struct_fields("fperf_profile")]
    assert [field.name for field in fields(KernelProfile) if field.name not in OWN_FIELDS] == members


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile(name: str) -> None:
    profile = load_profile(name)
    major, minor = map(int, name.split("."))
    assert profile.name == name
    assert profile.version == major * 100 + minor
    assert re.fullmatch(r"\d{4}-\d{2}", profile.released)
    assert all(len(source) > 20 for _, source in profile.sources)
    assert dict(profile.sources).keys() == {
        "kernel",
        "batching",
        "fault",
        "anon",
        "mremap",
        "walk",
        "limits",
        "outside",
    }
    assert "kernel: read: " in profile.source
    assert pickle.loads(pickle.dumps(profile)) == profile


@pytest.mark.parametrize(
    ("field", "values"),
    [
        # in the order of profile_names(): 5.17, 6.1, 6.12, 7.0
        ("anon_exclusive", (False, True, True, True)),
        ("batch_file_fault", (False, False, True, True)),
        ("batch_fork", (False, False, True, True)),
        ("batch_zap", (False, False, True, True)),
        ("batch_pmd_split", (False, False, True, True)),
        ("batch_try_to_unmap", (False, False, False, True)),
        ("batch_referenced", (False, False, False, True)),
        ("lookup_ref_donated", (True, True, False, True)),
        ("fault_maps_folio", (False, False, False, True)),
        ("shmem_fault_maps_folio", (False, False, True, True)),
        ("cow_reuses_large", (False, False, False, True)),
        ("huge_zero_write_thp", (False, False, False, True)),
        ("mthp", (False, False, True, True)),
        ("deferred_split_relock", (True, False, False, False)),
        ("remap_spans_vmas", (False, False, False, True)),
        ("vma_walk_lines_file", (3, 2, 2, 3)),
        ("vma_walk_lines_anon", (3, 2, 2, 2)),
        ("anon_vma_bytes", (80, 96, 96, 96)),
        ("fault_around_bytes", (65536,) * 4),
    ],
)
def test_history(field: str, values: tuple[object, ...]) -> None:
    assert tuple(getattr(load_profile(name), field) for name in profile_names()) == values


@pytest.mark.parametrize(
    ("name", "stand_in"),
    [("5.10", "5.17"), ("5.18", "5.17"), ("6.2", "6.1"), ("6.11", "6.1"), ("6.18", "6.12"), ("7.3", "7.0")],
)
def test_a_version_without_a_file_says_what_stands_in(name: str, stand_in: str) -> None:
    profile, base = load_profile(name), load_profile(stand_in)
    assert (profile.name, profile.stand_in, profile.version) == (name, stand_in, version_of(name))
    assert dict(profile.sources)["derived"].startswith(f"profile {stand_in} stands in")
    assert profile.vma_bytes == base.vma_bytes
    assert base.stand_in == ""


@pytest.mark.parametrize(
    ("field", "since"),
    [
        ("anon_exclusive", "5.19"),
        ("mthp", "6.8"),
        ("batch_fork", "6.9"),
        ("cow_reuses_large", "6.15"),
        ("remap_spans_vmas", "6.17"),
    ],
)
def test_rules_change_in_the_version_that_changed_them(field: str, since: str) -> None:
    versions = [f"{major}.{minor}" for major, last in ((5, 19), (6, 19), (7, 3)) for minor in range(last + 1)]
    for name in versions[versions.index("5.10") :]:
        assert getattr(load_profile(name), field) is (version_of(name) >= version_of(since)), name


def test_a_derived_profile_has_the_rules_of_the_documented_one() -> None:
    """What changed between two files must lead from the one to the other."""
    for before, after in itertools.pairwise(profile_names()):
        between = range(version_of(before) + 1, version_of(after) + 1)
        changed = {field: value for since, field, value, _ in _CHANGES if since in between}
        for field in (each.name for each in fields(KernelProfile)):
            if isinstance(getattr(load_profile(after), field), bool):
                derived = changed.get(field, getattr(load_profile(before), field))
                assert derived == getattr(load_profile(after), field), (after, field)


def version_of(name: str) -> int:
    major, minor = map(int, name.split("."))
    return major * 100 + minor


@pytest.mark.parametrize("name", ["5.9", "5.20", "6.20", "7.4", "8.0", "06.1", "6.01", "6.1.5"])
def test_versions_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"no kernel named '{name}'"):
        load_profile(name)


def test_unknown_kernel() -> None:
    with pytest.raises(ValueError, match=re.escape("no kernel named '2.6'; there are 5.17, 6.1, 6.12, 7.0")):
        load_profile("2.6")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"mthp": 1}, "mthp 1 must be true or false"),
        ({"vma_bytes": True}, "vma_bytes True must be an int"),
        ({"vma_bytes": 4096}, "vma_bytes 4096 must be from 64 to 1024"),
        ({"vma_bytes": 100}, "vma_bytes 100 must be a multiple of 8"),
        ({"vma_walk_lines_file": 4}, "vma_walk_lines_file 4 exceeds the lines of 192 bytes"),
        ({"max_map_count": 0}, "max_map_count 0 must be from 1"),
        ({"fault_around_bytes": 65537}, "fault_around_bytes 65537 must be a power of two"),
        ({"fault_around_bytes": 2048}, "fault_around_bytes 2048 must be from 4096"),
        ({"stack_limit_bytes": -1}, "stack_limit_bytes -1 must be from 0"),
        ({"version": 7}, "version 7 must be from 200"),
    ],
)
def test_impossible_profile(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=f"profile 7.0: {rule}"):
        replace(load_profile("7.0"), **change)


def test_window_of_a_whole_folio() -> None:
    assert replace(load_profile("6.12"), fault_around_bytes=2 << 20).fault_around_bytes == 2 << 20


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("schema = 1", "schema = 9", "schema 9 must be 1"),
        ("mthp = true", "", r"\[anon\] lacks 'mthp'"),
        ("mthp = true", "mthp = true\nmthq = true", r"\[anon\] has 'mthq', which means nothing here"),
        ("mthp = true", "mthp = 1", "mthp 1 must be true or false"),
        ("[walk]", "[run]", "the file lacks 'walk'"),
        ("schema = 1", "schema", "not a TOML file"),
    ],
)
def test_broken_profile_file(tmp_path: Path, old: str, new: str, rule: str) -> None:
    text = (SHIPPED / "7.0.toml").read_text()
    assert old in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rule) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


def test_own_profile_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "7.0.toml").read_text().replace('name = "7.0"', 'name = "7.0-mine"'))
    assert load_profile(str(path)).name == "7.0-mine"


# schemes


def test_scheme_table() -> None:
    assert set(scheme_names()) == set(engine.names("schemes"))
    for name in scheme_names():
        info = scheme_info(name)
        assert info.state, name
        assert info.costs, name
        assert info.cannot_answer, name
        assert info.status.startswith("shipped") == (info.shipped is not None)
        assert not (info.reconstructed and info.shipped)
    dates = [scheme_info(name).date for name in scheme_names()]
    assert dates == sorted(dates)


def test_options_are_those_of_the_engine() -> None:
    options = scheme_info("zero_one_two_many").options
    for option in ("presence", "recount"):
        names = tuple(name for _, name in macro_names(f"FPERF_{option.upper()}S"))
        for scheme in scheme_names():
            assert scheme_info(scheme).options.get(option, names) == names
    assert all(int(period) > 0 for period in options["period"])


@pytest.mark.parametrize(
    ("scheme", "kernel", "shipped"),
    [
        ("page_mapcount", "4.4", False),
        ("page_mapcount", "4.5", True),
        ("page_mapcount", "5.17", True),
        ("page_mapcount", "6.1", True),
        ("page_mapcount", "6.2", False),
        ("large_mapcount", "6.9", False),
        ("large_mapcount", "6.10", True),
        ("large_mapcount", "6.12", True),
        ("large_mapcount", "6.15", False),
        ("zero_one_two_many", "6.1", False),
    ],
)
def test_counterfactual(scheme: str, kernel: str, shipped: bool) -> None:
    assert scheme_info(scheme).shipped_in(kernel) is shipped
    if kernel in profile_names():
        assert SchemeSpec(name=scheme, kernel=kernel).counterfactual() is not shipped
        assert SchemeSpec(name=scheme).counterfactual(kernel) is not shipped


def test_designs_of_the_default_kernel_are_no_counterfactuals() -> None:
    assert {name for name in scheme_names() if not SchemeSpec(name=name).counterfactual()} == {
        "mm_owner",
        "no_page_mapcount",
    }


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("page_mapcount", SchemeSpec(name="page_mapcount")),
        (" page_mapcount@6.1 ", SchemeSpec(name="page_mapcount", kernel="6.1")),
        ("zero_one_two_many:recount=eager", SchemeSpec(name="zero_one_two_many", recount="eager")),
        (
            "zero_one_two_many:presence=oracle,recount=eager_stop3@6.1",
            SchemeSpec(name="zero_one_two_many", presence="oracle", recount="eager_stop3", kernel="6.1"),
        ),
    ],
)
def test_parse_scheme_spec(text: str, spec: SchemeSpec) -> None:
    assert parse_scheme_spec(text) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


specs = st.one_of(
    st.builds(
        SchemeSpec,
        name=st.sampled_from(["page_mapcount", "large_mapcount"]),
        kernel=st.sampled_from([None, *profile_names()]),
    ),
    st.builds(
        SchemeSpec,
        name=st.just("zero_one_two_many"),
        presence=st.sampled_from(["scan", "oracle", "pmd_special"]),
        recount=st.sampled_from(["lazy", "eager", "threshold", "anon_exact"]),
        period=st.sampled_from(["16", "4"]),
        race=st.sampled_from(["safe", "naive"]),
        kernel=st.sampled_from([None, *profile_names()]),
    ),
)


@given(st.lists(specs, min_size=1, max_size=5, unique=True))
def test_spec_text_is_read_back(chosen: list[SchemeSpec]) -> None:
    assert [parse_scheme_spec(str(spec)) for spec in chosen] == chosen
    assert parse_scheme_specs(", ".join(map(str, chosen))) == tuple(chosen)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("mapcount", "no scheme named 'mapcount'; there are page_mapcount, zero_one_two_many, "),
        ("", "no scheme named ''"),
        ("page_mapcount@6.20", "no kernel named '6.20'; there are 5.17, 6.1, 6.12, 7.0, and versions from 5.10 to 7.3"),
        ("page_mapcount@", "no kernel named ''"),
        ("page_mapcount:presence=scan", "has no option 'presence'; page_mapcount takes none"),
        ("zero_one_two_many:speed=9", "has no option 'speed'; presence is one of scan, oracle, neighbours"),
        ("zero_one_two_many:presence=guess", "presence=guess is not one of scan, oracle"),
        ("zero_one_two_many:presence", "option 'presence' must be OPTION=VALUE"),
        ("zero_one_two_many:", "option '' must be OPTION=VALUE"),
        ("zero_one_two_many:recount=lazy,recount=eager", "option recount is given twice"),
    ],
)
def test_bad_scheme_spec(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        parse_scheme_spec(text)
    assert repr(text) in str(caught.value)


def test_bad_scheme_list() -> None:
    with pytest.raises(ValueError, match="scheme page_mapcount is named twice"):
        parse_scheme_specs("page_mapcount,large_mapcount,page_mapcount")
    with pytest.raises(ValueError, match="no scheme named ''"):
        parse_scheme_specs("page_mapcount,")


def test_options_of_other_schemes() -> None:
    with pytest.raises(ValueError, match="scheme page_mapcount has no option 'recount'"):
        SchemeSpec(name="page_mapcount", recount="eager")
