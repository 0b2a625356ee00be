import os
from functools import partial

import pytest

from openflock.local import Network, WorkerLost, Workers
from openflock.protocol.calls import Drawn, Settled
from openflock.protocol.types import Act, Outcome, Phase

from .behaviour.ledgers import ACCOUNTS, CREATOR, GAS, NODES, OUTSIDER, open_evm
from .node.helpers import make_camp
from .protocol.helpers import OUTSIDER as KEEPER

ROLES = ("proposer", "rival", "voter", "skeptic")


def play(path, shuffle=0, **rules):
    """A whole task of four nodes on the specification; returns its ledger, network, and the steps it saw."""
    camp = make_camp(path, **{"rounds": 2, **rules})
    for position, role in enumerate(ROLES):
        camp.pitch(role, position % 2, shuffle=shuffle)
    ledger, steps = camp.open_ledger(), []
    network = Network(ledger, ledger, camp.nodes, KEEPER, lambda entries, new: steps.extend(new))
    network.run()
    return ledger, network, steps


def settle(ledger):
    return [(event.outcome, event.digest) for event in (e.item for e in ledger.read(0)) if isinstance(event, Settled)]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("local"))


def test_a_network_plays_a_task_to_its_end(played):
    ledger, network, _ = played
    assert network.state.phase == Phase.FINISHED
    outcomes = settle(ledger)
    assert [outcome for outcome, _ in outcomes] == [Outcome.MERGED] * 2
    assert len({network.state.genesis.rules.genesis, *(digest for _, digest in outcomes)}) == 3


def test_the_networks_replica_is_the_ledgers_state(played):
    ledger, network, _ = played
    assert network.state == ledger.state


def test_who_watches_sees_every_entry_once_in_whole_calls(played):
    ledger, _, steps = played
    seen = [item for step in steps for item in (step.call, *step.events)]
    assert seen == [entry.item for entry in ledger.read(0)][len(ledger.read(0)) - len(seen) :]
    assert [step.entry for step in steps] == sorted(step.entry for step in steps)


def test_every_node_has_a_seat_and_is_paid_nothing_that_it_did_not_earn(played):
    ledger, network, _ = played
    drawn = next(e.item for e in ledger.read(0) if isinstance(e.item, Drawn))
    assert len(drawn.proposers) == len(drawn.voters) == 4
    assert all(node.stake == 1000 for node in network.state.nodes.values())


def test_the_same_seed_gives_the_same_history(played, tmp_path):
    again, _, _ = play(tmp_path)
    assert list(again.read(0)) == list(played[0].read(0))


def test_the_order_in_which_updates_are_summed_changes_no_bit(played, tmp_path):
    shuffled, _, _ = play(tmp_path, shuffle=7)
    assert settle(shuffled) == settle(played[0])


def test_too_few_nodes_leave_idle_rounds_and_the_old_state(tmp_path):
    ledger, network, _ = play(tmp_path, min_nodes=8, max_tries=1)
    assert {outcome for outcome, _ in settle(ledger)} == {Outcome.IDLE}
    assert network.state.digest == network.state.genesis.rules.genesis


def test_a_worker_that_ends_before_its_work_is_told_in_one_line(played):
    with pytest.raises(WorkerLost, match="fewer jobs"), Workers(1, partial(os._exit, 1)) as workers:
        workers.work(played[1].state, Act.UPDATE, [0])


def test_workers_work_only_for_those_who_are_due(tmp_path):
    camp = make_camp(tmp_path, rounds=1)
    for position, role in enumerate(ROLES):
        camp.pitch(role, position % 2)
    ledger, asked = camp.open_ledger(), []

    class Elsewhere:
        def work(self, state, act, places):
            asked.append((act, list(places)))
            return [camp.nodes[place].work(state, act) if place else None for place in places]

    network = Network(ledger, ledger, camp.nodes, KEEPER, lambda entries, steps: None, Elsewhere())
    network.run()
    # Asked once more when all have called; whom another process worked out nothing for has done it itself.
    assert [(act, places) for act, places in asked if places] == [
        (act, [0, 1, 2, 3]) for act in (Act.UPDATE, Act.BALLOT, Act.ATTESTATION)
    ]
    assert [outcome for outcome, _ in settle(ledger)] == [Outcome.MERGED]


@pytest.mark.slow
def test_a_network_on_an_evm_reaches_the_same_models_as_on_the_specification(tmp_path):
    from dataclasses import replace

    from openflock.edge.spec_ledger import SpecLedger
    from openflock.protocol.calls import Fund

    digests = []
    for kind in ("evm", "spec"):
        camp = make_camp(tmp_path / kind, rounds=2)
        ledger, clock = open_evm(camp.rules)
        if kind == "spec":  # the same task, kept by the specification: salts and batches follow from its name
            ledger = clock = SpecLedger(ledger.get_genesis(), b"another chain")
        for position, account in enumerate(ACCOUNTS[2:]):
            node = camp.pitch(f"role {position}", position % 2)
            node.identity = replace(node.identity, address=account.address.lower())
        ledger.submit(Fund(CREATOR, 90_000))
        network = Network(ledger, clock, camp.nodes, OUTSIDER, lambda entries, steps: None)
        digests.append([network.run().digest, *settle(ledger)])
        assert set(network.state.nodes) == set(NODES)
    assert digests[0] == digests[1]
    assert GAS
