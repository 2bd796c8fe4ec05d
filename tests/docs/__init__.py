"""The documentation site: what `make docs` does, and the tests of it."""
