"""The demo model: a 135 M parameter model that runs on this machine, in a child process."""
