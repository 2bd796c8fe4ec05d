"""Benchmarks of a run: CPU time and ratios inside one process, medians, never a timed test.

python -m tests.benchmarks            all tables
python -m tests.benchmarks --short    the same with few rounds, to see that they still run
"""
