from .machine import TaskMachine, search

TestSpec = search(TaskMachine, examples=60, steps=30)
