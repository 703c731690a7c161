"""Benchmark results: their schema (`result`), how two runs compare (`compare`), their page and plot (`report`, `plot`).

It knows results only; the programs that measure stand outside the package, in the repository's top-level `bench/`.
"""
