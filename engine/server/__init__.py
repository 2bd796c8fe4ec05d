"""The HTTP server: runs, sessions and prompts of graphs behind Starlette endpoints.

It reads and calls what `Runner` and `Session` offer, and adds who may call (`access`), how much
(`limits`), and runs whose events many clients read, and come back to (`runs`). Nothing else in the
engine imports it; it needs the extra `serve`.
"""
