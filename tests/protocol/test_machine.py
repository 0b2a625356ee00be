from .machine import TaskMachine, search

TestSpec = search(TaskMachine, examples=150, steps=30)
