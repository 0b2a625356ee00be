"""Do the arithmetic that all nodes must agree on, in integers: pure numerics, no torch, no input or output.

fixed.py       the fixed-point global state: layout, vectors, initial state
container.py   named integer arrays as canonical safetensors bytes
compress.py    a delta in few bits: int8, int4, ternary, sparse4
codec.py       updates and states to bytes and back
gram.py        exact products of integer matrices by the float unit
geometry.py    norms and inner products of what updates do to the model
admission.py   what every voter can check alike: form, parent, norm
robust.py      what each update counts for, and is judged at: clip, mixing, Krum, medians ...
aggregate.py   merge updates into the next state, piece by piece
ahead.py       a few pieces ahead, in threads
stack.py       append updates of any rank to the state
outer.py       the outer optimizers in fixed point
duplicates.py  updates that are nearly the same
merge.py       all of it for one round: candidate and near-duplicates
adapter.py     a state's factors under PEFT's names
"""
