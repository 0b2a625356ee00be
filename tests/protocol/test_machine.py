from .machine import TaskMachine, search

TestSpec = search(TaskMachine, examples=250, steps=30)
