# pragma version ==0.4.3
"""
@title Phases: where a task stands, and until when
@license Apache-2.0
@notice A call at exactly the deadline is still in time.
"""


from interfaces import ITask
import errors
import rules
import types


uses: rules


phase: uint256
deadline: uint256
number: uint256  # of the running round, from 1


@deploy
def __init__():
    """
    @notice A task starts by gathering nodes for its first round.
    """
    self.number = 1
    self.deadline = block.timestamp + rules.TIMES[types.GATHER]


@internal
def _enter(phase: uint256):
    """
    @dev Starts a phase that lasts as long as the rules say.
    """
    self._enter_until(phase, block.timestamp + rules.TIMES[phase])


@internal
def _enter_until(phase: uint256, deadline: uint256):
    """
    @dev Starts a phase; `deadline` is a block for DRAW, nothing for FINISHED.
    """
    self.phase = phase
    self.deadline = deadline
    log ITask.Entered(round=self.number, phase=phase, deadline=deadline)


@internal
@view
def _get_act(opening: bool) -> uint256:
    """
    @dev Reads which act the task is in, committing or opening.
    """
    phase: uint256 = self.phase
    in_act: bool = phase >= types.PROPOSE and phase < types.FINISHED
    if opening:
        errors._require(in_act and phase % 2 == 1, "rounds: nothing to open now")
    else:
        errors._require(in_act and phase % 2 == 0, "rounds: nothing to commit now")
    return (phase - types.PROPOSE) // 2


@internal
@view
def _require_act(act: uint256, opening: bool):
    """
    @dev Refuses what belongs to another phase.
    """
    errors._require(act == self._get_act(opening), "rounds: another act's phase")


@internal
@view
def _require_in_time():
    """
    @dev Refuses what comes after the deadline, even if nobody moved the task on.
    """
    errors._require(block.timestamp <= self.deadline, "rounds: the deadline has passed")
