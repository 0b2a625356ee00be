"""A node: it reads the ledger, plays the roles it is drawn for, and asks the world only through ports.

reader    states and updates, fetched by digest and decoded once
proposer  train, offer an update
searcher  hunt for backdoors, accuse
doses     how much of each update is looked at for them
shares    what each update counts for in the merge that it is judged for
voter     judge updates, attest the merge
notebook  the clues it knows, in a file
hearing   what rounds that ended add to them, and take away
examiner  score updates on rows that the task's creator sealed
unsealer  open them, round by round: the creator's part
node      state -> the next call this node wants to make
"""
