"""The pages in a browser. A package, so that the browser ends with its last test.

Playwright leaves its event loop running between calls, which no other test may see.
"""
