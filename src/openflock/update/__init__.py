"""Do the arithmetic that all nodes must agree on, in integers: pure numerics, no torch, no input or output.

fixed.py       the fixed-point global state: layout, initial state, rounding
container.py   named integer arrays as canonical safetensors bytes
codec.py       updates and states to bytes and back; quantisation
gram.py        exact Gram matrices by 16-bit limbs
admission.py   what every voter can check alike: form, parent, norm
aggregate.py   the weighted mean of updates, added to the state
duplicates.py  updates that are nearly the same
"""
