"""Which blobs an open task needs: to go on, to be caught up with, and to be audited."""

from collections.abc import Iterable

from openflock.protocol.calls import Settled
from openflock.protocol.replay import Step
from openflock.protocol.types import Digest, Genesis, Phase, Round, Verdict
from openflock.protocol.verdict import MERGED_VERDICTS

JUDGED_BY_BYTES = (*MERGED_VERDICTS, Verdict.INADMISSIBLE)


def list_needed(genesis: Genesis, steps: Iterable[Step]) -> frozenset[Digest]:
    """List the blobs that a task needs after all its steps so far; none once it is over.

    An update that was neither merged nor slashed for its form is not needed again: nothing followed from its bytes.
    Neither are blobs that a node has only committed to: nobody else can know them, so age must keep those.
    """
    needed, last = {genesis.rules.job, genesis.rules.genesis}, None
    for step in steps:
        last = step.state
        for event in step.events:
            if isinstance(event, Settled):
                needed.add(event.digest)
                needed |= list_judged(last.ended) if last.ended else set()
    if last is None:
        return frozenset(needed)
    return frozenset() if last.phase == Phase.FINISHED else frozenset(needed | list_open(last.round))


def list_judged(ended: Round) -> set[Digest]:
    """List the updates of a round whose bytes decided something, as the audit does."""
    return {
        proposal.digest
        for slot, proposal in ended.proposals.items()
        if ended.judgements and ended.judgements[slot].verdict in JUDGED_BY_BYTES
    }


def list_open(current: Round) -> set[Digest]:
    """List all that a running round has named: any of it may still be judged, merged or become the state."""
    witnesses = {witness.digest for standing in current.witnesses.values() for witness in standing}
    attested = {attestation.digest for attestation in current.attestations.values()}
    return {proposal.digest for proposal in current.proposals.values()} | witnesses | attested
