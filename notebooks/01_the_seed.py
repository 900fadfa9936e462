# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Zero, One, Two, Many
#
# In January 2022 Matthew Wilcox proposed to count how often a folio is mapped as Discworld trolls do: Zero, One, Two,
# Many. Cheap to ask, at most three references, some 30 bits of struct page free; but at Many the number is lost, and
# only a walk finds it again. He asked what becomes catastrophically slower.
#
# This notebook follows the argument in ten minutes. Every number is *modelled*: exact counts of a C model of Linux mm,
# repeatable to the bit. Nothing here is a time.

# %%
import textwrap

import matplotlib.pyplot as plt
import numpy as np

import folio_perf as fp

SHIPPED = ("page_mapcount@5.17", "nr_pages_mapped@6.8", "large_mapcount@6.12", "mm_owner@7.0", "no_page_mapcount@7.0")
SEED = "zero_one_two_many@7.0"
COLOURS = dict(zip((*SHIPPED, SEED), ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"), strict=True))
plt.rcParams.update({"figure.dpi": 96, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9})

# %% [markdown]
# ## 1 What it costs to ask
#
# `folio_mapcount()` of a folio that PTEs map. In 5.17 it reads the count of every page: for 2 MiB (order 9) that is
# 512 lines of 64 bytes, 32 KiB, all of an L1. Later designs keep a total in the first tail; the seed's keeps two bits
# in the head.

# %%
orders = range(2, 10)
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
groups: dict[int, list[str]] = {}
for scheme in (*SHIPPED, SEED):
    lines = [fp.trace_operation("total_mapcount", order=order, scheme=scheme).totals.lines_read for order in orders]
    axes.plot(orders, lines, "o-", color=COLOURS[scheme], markersize=4)
    groups.setdefault(lines[-1], []).append(scheme)
for lines_read, schemes in groups.items():
    axes.text(9.15, lines_read, textwrap.fill(", ".join(schemes), 38), va="center", fontsize=7)
axes.set_yscale("log", base=2)
axes.set_yticks([1, 2, 8, 64, 512], labels=["1", "2", "8", "64", "512"])
axes.set(xlabel="folio order", ylabel="struct page lines read", title="asking for the total mapcount", xlim=(1.8, 12))
axes.set_xticks(list(orders))
plt.show()

# %% [markdown]
# Designs named together lie on one line.
#
# ## 2 What it costs to keep the count
#
# Atomic read-modify-writes on struct pages for one whole-folio event on a 2 MiB folio, references included; the seed's
# design below Many. At Many it writes nothing at all.

# %%
EVENTS = {"map_ptes": "map 512 PTEs", "unmap_ptes": "unmap them", "fork": "fork, first", "fork_again": "fork, later"}
figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
width = 0.8 / (len(SHIPPED) + 1)
for number, scheme in enumerate((*SHIPPED, SEED)):
    rmw = [fp.trace_operation(event, order=9, scheme=scheme).totals.rmw for event in EVENTS]
    at = np.arange(len(EVENTS)) + number * width
    axes.bar(at, np.maximum(rmw, 0.8), width, color=COLOURS[scheme], label=scheme)
    for x, value in zip(at, rmw, strict=True):
        axes.text(x, max(value, 0.8) * 1.1, f"{value}", ha="center", fontsize=7, rotation=90)
axes.set_yscale("log")
axes.set_ylim(0.7, 8000)
axes.set_xticks(np.arange(len(EVENTS)) + 0.4 - width / 2, labels=list(EVENTS.values()))
axes.set(ylabel="atomic RMW", title="keeping the count of a 2 MiB folio mapped by PTEs")
figure.legend(frameon=False, fontsize=8, ncols=3, loc="outside lower center")
plt.show()

# %% [markdown]
# Up to 6.12 a fault maps 16 pages of a file at most, so the folio comes in 32 batches; 7.0 maps it whole.
#
# Two things stand out. Batching and one count per folio have removed most of what the seed complained of:
# no_page_mapcount pays two atomics, as the seed's idea does below Many. And what is left of the first fork, 512, is
# PageAnonExclusive, a flag per page that no way of counting removes.
#
# ## 3 Three references, whatever happens

# %%
for scheme in (SHIPPED[0], SEED):
    result = fp.simulate("refcount_attack(mappings=400)", scheme=scheme, backend="count")
    print(f"{scheme:24} {result.totals['refs_peak']:>9,} references after 400 mappings of a 2 MiB folio")

# %% [markdown]
# 512 references per mapping reach the sign bit of a 32-bit count after 4,194,304 mappings: 65 processes, 17 GiB
# (`folio-perf claims --id 9.6`).
#
# ## 4 The price: Many is sticky
#
# A fork server with 30 children that leave its heap one after another. The truth is how many VMAs map the heap's
# pages; the count follows up to Two and then only knows Many, until somebody walks.

# %%
CHILDREN = 30
POLICIES = {"lazy": "#D55E00", "eager_stop3": "#0072B2"}


def leave_one_by_one(children: int) -> fp.Scenario:
    """A heap page that children leave by exiting, the oldest first."""
    builder = (
        fp.ScenarioBuilder("leave", fp.Geometry()).region("A", 16).map_anon("P0", "A").touch("P0", "A", 0, 16, "w")
    )
    for number in range(1, children + 1):
        builder.fork("P0", f"P{number}")
    for number in range(1, children + 1):
        builder.exit(f"P{number}")
    return builder.exit("P0").build()


figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
for policy, colour in POLICIES.items():
    visits, alive = [], []
    for children in range(CHILDREN + 1):
        result = fp.simulate(leave_one_by_one(children), scheme=f"zero_one_two_many:recount={policy}", backend="count")
        visits.append(result.total.vma_visits)
        alive.append(result.totals["leaked_pages"])
    top.plot(alive, color=colour, drawstyle="steps-post", label=f"recount={policy}")
    bottom.plot(visits, color=colour, label=f"recount={policy}")
top.set(ylabel="pages leaked", title="16 heap pages, all processes gone: lazy leaks them, eager walks for them")
bottom.set(xlabel="children of the fork server", ylabel="VMAs visited")
top.legend(frameon=False, loc="center right")
plt.show()

# %% [markdown]
# With one child the count is exact (a database that forks to save itself never leaves Two). From two children on the
# folio reaches Many: without walks it is never freed, with them every exit looks for the others.
#
# ## 5 What becomes catastrophically slower
#
# N processes share one heap page; the children leave it by copying it. Today each of them pays two atomics and nobody
# walks. Under `eager_stop3` each unmap at Many walks until it has found three mappers, and the interval tree keeps the
# order in which the children were born.

# %%
SIZES = np.array([4, 10, 30, 100, 300, 1000])
STYLES = {
    "fork": ("#D55E00", "oldest first"),
    "random": ("#E69F00", "at random"),
    "reverse": ("#009E73", "youngest first"),
}


def recount_visits(processes: int, order: str) -> int:
    """VMAs visited by all recounts."""
    made = fp.workload(
        "fork_server",
        children=processes - 1,
        heap="4K",
        folio="order0",
        rewrite_share=1,
        turns=1,
        write_order=order,
        server_share=0,
    )
    scheme = "zero_one_two_many:recount=eager_stop3"
    return fp.simulate(made, scheme=scheme, backend="count").total.vma_visits


harmonic = np.array([np.sum(1 / np.arange(1, n + 1)) for n in SIZES])
formula = 3 * (SIZES + 1) * (harmonic - 11 / 6) + SIZES
figure, axes = plt.subplots(figsize=(7, 3.6))
for order, (colour, label) in STYLES.items():
    axes.plot(SIZES, [recount_visits(n, order) for n in SIZES], "o-", color=colour, label=f"children leave {label}")
axes.plot(SIZES, formula, "k--", linewidth=1, label="formula, walks in random order")
axes.plot(
    SIZES, np.zeros(len(SIZES)) + 1, color="#999999", linewidth=3, label="every shipped design: no walk (drawn at 1)"
)
axes.set(xscale="log", yscale="log", xlabel="processes", ylabel="VMAs visited, per page", title="a fork server's heap")
axes.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The same server costs 4 visits a child or 500, by who leaves first. That is the true answer to the question for
# anonymous memory; docs/catastrophes.md has the others.
#
# ## 6 And what does not
#
# Redis saving its data while clients write: parent and one child are Two, everything is exact, and nobody ever walks.

# %%
comparison = fp.compare("redis-bgsave-thp", schemes=f"mm_owner,no_page_mapcount,{SEED}")
columns = ["scheme", "rmw", "lines_read", "lines_written", "vma_visits", "refs_peak", "stale_many"]
comparison.totals_frame()[columns]

# %% [markdown]
# ## What to take away
#
# - Reading the count was the complaint; every design since 6.10 answers it in two lines, the seed's in one.
# - Writing it was the cost; without per-page counts it is two atomics a batch, at Many none.
# - The seed's own price is a walk where there was none, and it depends on an order nobody controls.
# - Where at most two processes share, it is the cheapest design there is.
