"""Do what needs torch, transformers and peft: read data, load a base, train a factor, judge a state.

data.py        rows from JSONL in three forms, or from whatever `datasets` reads
encode.py      rows to tokens and labels, where only the completion counts
base.py        find, name and load the frozen base: safetensors only, nobody's code
model.py       base and adapter; agreed integers in, trained factors out
train.py       the inner steps of a round, the same bits each time
checkpoint.py  an interrupted training run
evaluate.py    loss, whole answers, chat, a ballot's score
export.py      the global state as a PEFT adapter directory
skills.py      the data that the project writes itself

Import the modules themselves: this one imports nothing, and so costs nothing.
"""
