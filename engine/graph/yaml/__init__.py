"""Graph files as YAML 1.2, read with the position of every word, written with its comments.

The core schema and nothing that surprises: `no` is text, a duplicate key or a tag is refused, an
alias is a copy. `parser` knows the library and the syntax, `reader` builds a `Document` (data and
positions), `writer` writes. The codes of the problems:

    Y001  the file cannot be read or written    Y009  a merge key (`<<`)
    Y002  it is not UTF-8                       Y010  several documents in one file
    Y003  it is too large                       Y011  an anchor or alias
    Y004  a character that is not allowed       Y012  nested too deeply
    Y005  it is empty                           Y013  a tag or a directive
    Y006  it is not a mapping at the top        Y014  a key that is not text
    Y007  the YAML syntax is broken             Y015  a value that JSON cannot represent
    Y008  a duplicate key
"""
