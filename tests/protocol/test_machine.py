from .machine import TaskMachine, search

TestSpec = search(TaskMachine, examples=75, steps=30)
