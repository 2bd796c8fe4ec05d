"""Testing of prompts and stores: case files, snapshots, branch coverage, the conformance kit.

`plugin` is what pytest loads in every project; it imports the rest of the engine only when there
is a case to collect, a snapshot to compare or a template to measure.
"""
