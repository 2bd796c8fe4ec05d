"""Pieces of HTML and SVG that show graphs and runs: for pages, notebooks and files that are mailed.

Knows graphs, runs and prompts, no server. A piece has classes only, no script and no style; what
it looks like is in `static/view.css`, in dark and light. All text of others is escaped.
"""
