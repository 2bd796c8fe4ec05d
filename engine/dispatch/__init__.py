"""Turns that are submitted here and run elsewhere: the `Dispatcher` protocol and its two forms.

`protocol` is what a dispatcher is asked for; `in_process` runs turns in this process. With DBOS and
PostgreSQL (the extra `distributed`) `dbos` submits them to a queue, and `worker` is a process that
takes them from it. `turns` is the table of what was submitted, with the events; `schema` creates
it. `takeover` is how the turns of a worker that died go to another one. It knows dbos and
sqlalchemy, which no other room does.
"""
