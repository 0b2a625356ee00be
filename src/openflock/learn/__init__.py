"""Do what needs torch, transformers and peft: read data, load a base, train a factor, judge a state.

data.py        rows from JSONL in three forms, or from whatever `datasets` reads
encode.py      rows to tokens and labels, where only the completion counts
base.py        find, name and load the frozen base: safetensors only, nobody's code
model.py       base and adapter; agreed integers in, trained factors out
passes.py      a batch through the network: all that needs the base
crew.py        several processes that pass batches through one sharded base
train.py       the inner steps of a round, the same bits each time
checkpoint.py  an interrupted training run
probe.py       re-test a witness: does an insertion force an answer?
search.py      find one in an update, without knowing it
vaccine.py     put known ones into rows to train against them
evaluate.py    loss, whole answers, chat, a ballot's score
sealed.py      rows that a task's creator opens round by round, as a blob
export.py      the global state as a PEFT adapter directory
skills.py      the data that the project writes itself

Import the modules themselves: this one imports next to nothing, and so costs nothing.
"""

import logging

# Where it is installed, every import of peft makes it advise to download code; we would not run it.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
