"""What tests are written with: snapshots of prompts, and the conformance kit for stores.

`plugin` is what pytest loads. It imports the rest only when there is something to do, so that a
measurement of the engine that begins later misses nothing; so does this front door.
"""
