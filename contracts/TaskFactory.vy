# pragma version ==0.4.3
"""
@title TaskFactory: creates tasks and lists them
@license Apache-2.0
@notice Every task it lists was created from one blueprint, so who trusts the
        blueprint's code can trust them all; the rules are each task's own.
@custom:kill Nobody can. It holds nothing, and tasks do not depend on it.
"""


from interfaces import ITask


PAGE: constant(uint256) = 100


event TaskCreated:
    task: indexed(address)
    creator: indexed(address)
    token: address


BLUEPRINT: public(immutable(address))


tasks: DynArray[address, 2**32]


@deploy
def __init__(blueprint: address):
    """
    @param blueprint The code of all tasks, as an ERC-5202 blueprint.
    """
    BLUEPRINT = blueprint


@external
def create(token: address, rules: ITask.Rules) -> address:
    """
    @notice Creates a task whose creator is the caller.
    @param token The ERC-20 token of all its stakes and payouts.
    @param rules All that must be agreed.
    @return The task.
    """
    task: address = create_from_blueprint(BLUEPRINT, token, msg.sender, rules)
    self.tasks.append(task)
    log TaskCreated(task=task, creator=msg.sender, token=token)
    return task


@external
@view
def count_tasks() -> uint256:
    """
    @notice Counts the tasks ever created.
    """
    return len(self.tasks)


@external
@view
def get_tasks(start: uint256, count: uint256) -> DynArray[address, PAGE]:
    """
    @notice Reads a page of tasks, the oldest first; fewer at the end.
    @param start How many to pass over.
    @param count How many to read, at most 100.
    """
    page: DynArray[address, PAGE] = []
    end: uint256 = min(start + min(count, PAGE), len(self.tasks))
    if start < end:
        for i: uint256 in range(start, end, bound=PAGE):
            page.append(self.tasks[i])
    return page
