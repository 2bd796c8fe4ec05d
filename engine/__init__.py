"""The engine: declare -> check -> order -> visit -> render -> ask -> record -> tell.

Each folder is a room, and imports only from rooms further down this list:

    cli       the command `teamgraph`
    testing   the pytest plug-in, snapshots of prompts, the conformance kit for stores
    view      pieces of HTML and SVG that show graphs and runs, for pages, notebooks and files
    run       one message through one graph: the runner, attempts, model calls, resume, dry run
    graph     declarations: nodes, edges, the plan, the rules that a graph is checked against
    tools     functions that a model may call
    stores    where sessions are stored: in memory, or in one journal for each session
    session   sessions as their owner reads them, and the protocol of a store
    prompts   templates: the sandbox, and the static checker
    models    who answers: litellm, the local demo model, scripted ones
    returns   the declared shape of an answer

`errors`, `messages`, `records`, `events` and the other modules of this folder are the ground that
every room uses. Users import from `teamgraph`, never from here.
"""

from . import os_fork as os_fork  # first: a fork waits for what threads import after this
