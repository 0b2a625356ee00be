"""Pin every bit of short histories: whoever changes one of these breaks the replay of all tasks."""

import os
import subprocess
import sys

import pytest

from openflock.protocol.recipe import Recipe

from . import golden

HISTORY = [
    "5e40205e8df7943139c7dcee9b489bc3ee1a57243a55646c4df8e86e03e25e49",  # the initial state
    "e235cbcc46ea9c0d7b5552fc98feaeccd53461901a15d60252f9cfedd64146fb",  # an update of B
    "1228171580034954150830846009/9903520314283042199192993792",  # its squared norm
    "(0, 1, 0, 3)",  # the third proposal copies the first
    "09d515fc0c66188892c0636bba3a63c48a54945da0695993e12fb83c304f634c",  # the state after one step
    "a9f873d48171fbdfa390d68436f0e4ac32a68587a6b2bfa1d2fd587a5750c798",  # an update of A
    "72078540171095073813161109/19807040628566084398385987584",
    "(0, 1, 0, 3)",
    "550c77baadaff6b2654fe8233890701823e03aa510d70d58305dbe71f2e4160e",  # the state after two steps
]

DIGESTS = {  # of all that a history tells, by recipe
    "alternate int8 plain": "87c955e407e1f5096315206214ebb18212ce7a65f3ad3015f8d0e09c048af94f",
    "alternate int8 nesterov": "814e6cc824c814304504b348e970f075afbaa05bb15a0e998816537d139e0c5f",
    "alternate int4 plain": "c80ce11c9425b0b1f6b7010f9512817cb4545a9c5f060ffc2fd6c25fa630aa56",
    "alternate int4 nesterov": "47d8b866bec568c8676e9138c9f8cc79a15654407b5110c9aae6ac3347d2392b",
    "alternate ternary plain": "0e76df779fa2c0ec2e99398f648885725af56ed6b12ba27cbfb112a3d923b6b6",
    "alternate ternary nesterov": "82735516306ff69fe9ad65fe0ac152d59490d72635720d1a9f4b1d84dd806053",
    "alternate sparse4 plain": "3381ef963e41cb9bb27c5b5f3f0c787441610941693bda7f3d9708ed3b3eaa5c",
    "alternate sparse4 nesterov": "0103df6a7a5c6a174d28e5bba8e62cf05e609500195abf73c5813579f5ca7ba5",
    "ffa int8 plain": "546dc451a9d9f1ec38bdaf85dc7cefbbe36be1e645fb5d2c4f3c3e9546c2ae3b",
    "ffa int8 nesterov": "8fc756a6a4b8d3cac17f967da4fc48313dff7d8d836ef58b384fad1c4b35a6cc",
    "ffa int4 plain": "338d4950ce28bfc534b1b9f8fa51fea643763e2d2463532d149bdc332ce5eb7e",
    "ffa int4 nesterov": "4b0621916ad34ad0c6c0fdeb57c60a242aad2186c63fe90fc71ffb95e173445d",
    "ffa ternary plain": "71eb2c88514978198fa1af1294fc65822637ba9236a106e2206dc888c7c95d7e",
    "ffa ternary nesterov": "d600268b44c068ae6c653b599f43e8ba99981e95f639b0edc6502e4cc1a195ed",
    "ffa sparse4 plain": "65fd8fe1b12496f0ca309c8fbf20bcbfbf4f675d2c757ff32362ab7e0887229b",
    "ffa sparse4 nesterov": "528a463c4b55d6ef193997e477ec746eac0b5feffd43279098742fc48cb68c50",
    "stack int8 plain": "6ba0cc2c375f35310b1c762745adc921f48d2e9f6a6fcf83973078af42143c51",
    "stack int4 plain": "db6135726bf98b69bad964db9daee7a1c907f7865992ee0e55d8f434e29c49cf",
    "stack ternary plain": "2c95790fbd136512155626d4c86b665dba231a037669190732c1d8ce4edfb728",
    "stack sparse4 plain": "76403072321d0922b341ac159e1035f6525d13bdcb9430f4bae24b0ee6f1ecc5",
    "alternate int8 krum": "4ef231e473eb9d99a0a92276b7428fd445280316f9cb9d4553a4c0f3b3efadbd",
    "alternate int4 trimmed": "aa0a07f9af05fa362ffc06be5920136ffce4c3d842c9c95c2fdab2eb10f07540",
    "alternate int8 geometric": "1968a243422e9cfe8a939aff664c34f4d2bc2e1fe8a69115f99fb1d458ceb860",
}


def test_history_is_as_it_always_was():
    assert golden.tell_history(Recipe()) == HISTORY


@pytest.mark.parametrize("name", DIGESTS)
def test_every_recipe_s_history_is_as_it_always_was(name):
    assert golden.digest("\n".join(golden.tell_history(golden.RECIPES[name])).encode()).hex() == DIGESTS[name]


def test_every_recipe_is_told():
    assert golden.RECIPES.keys() == DIGESTS.keys()


def test_history_does_not_depend_on_threads():
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, golden.__file__], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == [*HISTORY, *(f'"{name}": "{digest}",' for name, digest in DIGESTS.items())]
