"""What becomes of a store when things go wrong: killed, cut, full, flipped, crowded, suspended.

python -m tests.faults                       all of it, some minutes; `make faults` is the same
python -m tests.faults --short               each fault a few times, with a fixed seed
python -m tests.faults mutants               do the faults find stores that are broken on purpose?
python -m tests.faults kills --trials 5000 --seed 7
"""
