# pragma version ==0.4.3
"""
@title Types: the words and bounds of a task
@license Apache-2.0
@notice Mirrors `openflock.protocol.types`. A word is the number under which
        the log, the ABI and the specification know it.
"""


# Phases: act `a` is committed in phase 2 + 2a and opened in the next.
GATHER: constant(uint256) = 0
DRAW: constant(uint256) = 1
PROPOSE: constant(uint256) = 2
PUBLISH: constant(uint256) = 3
PROBE: constant(uint256) = 4
EXPOSE: constant(uint256) = 5
VOTE: constant(uint256) = 6
REVEAL: constant(uint256) = 7
ATTEST: constant(uint256) = 8
CONFIRM: constant(uint256) = 9
REATTEST: constant(uint256) = 10
RECONFIRM: constant(uint256) = 11
FINISHED: constant(uint256) = 12

# Acts: the appeal is the attestation put to all stake.
UPDATE: constant(uint256) = 0
WITNESS: constant(uint256) = 1
BALLOT: constant(uint256) = 2
ATTESTATION: constant(uint256) = 3
APPEAL: constant(uint256) = 4

# Flags: what a voter says of a proposal beside its score.
FLAG_UNAVAILABLE: constant(uint256) = 1
FLAG_INADMISSIBLE: constant(uint256) = 2
FLAG_SUSPECT: constant(uint256) = 4
FLAG_ABSTAIN: constant(uint256) = 8

# Verdicts: only PAID and UNPAID are merged.
VERDICT_NONE: constant(uint256) = 0
VERDICT_PAID: constant(uint256) = 1
VERDICT_UNPAID: constant(uint256) = 2
VERDICT_UNAVAILABLE: constant(uint256) = 3
VERDICT_INADMISSIBLE: constant(uint256) = 4
VERDICT_SUSPECT: constant(uint256) = 5
VERDICT_HARMFUL: constant(uint256) = 6
VERDICT_UNPROVEN: constant(uint256) = 7
VERDICT_UNJUDGED: constant(uint256) = 8

# Outcomes of a round: only MERGED moves the global state.
MERGED: constant(uint256) = 0
UNCHANGED: constant(uint256) = 1
VETOED: constant(uint256) = 2
EMPTY: constant(uint256) = 3
VOID: constant(uint256) = 4
IDLE: constant(uint256) = 5

# Faults: why stake was taken.
FAULT_NO_SHOW: constant(uint256) = 0
FAULT_HIDDEN_BALLOT: constant(uint256) = 1
FAULT_UNAVAILABLE: constant(uint256) = 2
FAULT_INADMISSIBLE: constant(uint256) = 3
FAULT_BACKDOOR: constant(uint256) = 4
FAULT_WRONG_DIGEST: constant(uint256) = 5

# Reasons: why an account may claim more than before.
REASON_PROPOSAL: constant(uint256) = 0
REASON_VOTE: constant(uint256) = 1
REASON_BOUNTY: constant(uint256) = 2
REASON_REFUND: constant(uint256) = 3
REASON_BURN: constant(uint256) = 4
REASON_RETURN: constant(uint256) = 5

# Set in a benefit that sealed rows proved; benefits are below it.
PROVEN: constant(uint256) = 2048

# Bounds. All stake together and the pool stay under 2**100, so that no product
# of two amounts and a score overflows 256 bits.
MAX_PROPOSERS: constant(uint256) = 16
MAX_SEATS: constant(uint256) = 32
MAX_WITNESSES: constant(uint256) = 4
MAX_NODES: constant(uint256) = 4096
MAX_STAKE: constant(uint256) = 2**88
MAX_POOL: constant(uint256) = 2**100
SEED_WINDOW: constant(uint256) = 256
BURN_ADDRESS: constant(address) = 0x000000000000000000000000000000000000dEaD
