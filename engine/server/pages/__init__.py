"""The pages of the server: HTML made by Jinja templates, which reads what the native API reads.

A page is readable without JavaScript. htmx swaps parts of it, and `static/teamgraph.js` follows
the events of a run. Ids are in the query of a link, so that each of them, also `..`, can be named.
"""
