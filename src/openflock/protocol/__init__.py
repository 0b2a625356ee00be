"""The protocol: one task as a pure function of its calls.

Nothing here reads a clock, a network, a file or a random generator: time, block hashes and salts come in as
arguments. `round.process` is the contract's executable specification; `replay` folds a ledger's log through it.

types       words, constants, containers, calls and events
rules       all that must be agreed, and why a set of rules cannot work
commitment  commit and open, one scheme for every act
ballot      a voter's two 256-bit words
sortition   sum tree, seed, seats drawn by stake
verdict     ballots -> a verdict for each proposal
payout      verdicts -> payouts, in integers
stakes      money: join, leave, slash, credit; solvent by construction
settlement  what a round's end does to its proposers, voters and witnesses
round       state + call + moment -> next state and its events
replay      log -> state, or the first entry that differs
ports       all that a node asks of the world
"""
