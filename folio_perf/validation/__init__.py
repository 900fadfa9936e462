# SPDX-License-Identifier: BSD-3-Clause
"""The model held against what others measured: real kernels' answers and published numbers."""
