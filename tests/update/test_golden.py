"""Pin every bit of short histories: whoever changes one of these breaks the replay of all tasks."""

import os
import subprocess
import sys

import pytest

from openflock.protocol.recipe import Recipe

from . import golden

HISTORY = [
    "5e40205e8df7943139c7dcee9b489bc3ee1a57243a55646c4df8e86e03e25e49",  # the initial state
    "54af73bcd4da31f461a50a0fbce986bce2853e0a73a010869c48680bbf7cc6ce",  # an update of B
    "1228171580034954150830846009/9903520314283042199192993792",  # its squared norm
    "(0, 1, 0, 3)",  # the third proposal copies the first
    "09d515fc0c66188892c0636bba3a63c48a54945da0695993e12fb83c304f634c",  # the state after one step
    "c2a42019edd985bb8b1f6f5ddd09871808f322c375ee7ef5c452cc3098094f51",  # an update of A
    "72078540171095073813161109/19807040628566084398385987584",
    "(0, 1, 0, 3)",
    "550c77baadaff6b2654fe8233890701823e03aa510d70d58305dbe71f2e4160e",  # the state after two steps
]

DIGESTS = {  # of all that a history tells, by recipe
    "alternate int8 plain": "ba794eeeaf854735587c2c348ab8ee900c04c1e2f8e978a0659cde56adee8c93",
    "alternate int8 nesterov": "79ff1bbd662a7523176696c0be165a6f59c0d465f74f0c797771cccc17353f77",
    "alternate int4 plain": "11be2ac7df930afe3896599c1dc73dfa0bb8305104ce1d05b6790985e90f31ea",
    "alternate int4 nesterov": "22ea731ced99ca0d5331821d098f064ec8f560650569e840e59942edde05de7a",
    "alternate ternary plain": "1dc1b1220781a69ad30ca9344f2e3ce3337862daac17536601487f5c57df3caa",
    "alternate ternary nesterov": "1179f0b3e7f435358f708ed3b0fcbaa1dc95a8adf358cd7a5aa2cff6cf75dc15",
    "alternate sparse4 plain": "2101a8bf50e01bebe1f4fb873ab4624649ba5b9c2e43efd988366d3002793544",
    "alternate sparse4 nesterov": "117a42a6ce57b4dc31fc6a58054ff430475b4ad99cfe061539f2298ba43b95a2",
    "ffa int8 plain": "ab58ae43a73174f29578b47b2079af5c8618ef01cb3fbd30b419888682ac9b43",
    "ffa int8 nesterov": "a2062bc57619edb049036bd4576aa9be93579a784f754bfad703d6f49a4b898d",
    "ffa int4 plain": "11985ad73a82187d9a04e0aea1b42f99a39df3c643c9f1946a881e32fb74c0b1",
    "ffa int4 nesterov": "e1480f758b0cba25925142ba6a21cc6e21bb8741ea22e06903967c7f9ff0c74e",
    "ffa ternary plain": "20d2f8d7eb9e7d1a68bd7249e4983f2946c1edf16814f63f34def2809273735f",
    "ffa ternary nesterov": "e7402f6bd2fbf9360e5c024ebc41d8e33a18113cf60e9ce0bb5e270c3948c226",
    "ffa sparse4 plain": "5483688eedb3ae36f7d7703df2b5fdf6aa4369b055d78437ac90dc231116e397",
    "ffa sparse4 nesterov": "f51e36769713daaab83f097ad0a485860b03dd2ccd254c82ed1846250a6f5734",
    "stack int8 plain": "373c6bb5369a59ae3995ae05eb3bfce29c48bad05850c6fd184c8d380861b25f",
    "stack int4 plain": "239649939f5fac34e181dbd325f285b39a4e970fb8c92294278755277d910830",
    "stack ternary plain": "245f6a5980e3ef6237196237a477af81b7a3a016d33210459649abeef8807156",
    "stack sparse4 plain": "6469ad7b4af43b8a69c42c9eb8e9295c44211a9fa0e11f52b4eb763ed638f0f5",
    "alternate int8 krum": "234c1f94eaeb5375d738aa597c0ed33e08c1709344ac41a557bb383de57609db",
    "alternate int4 trimmed": "d162d780cabd90b90d5517347af3e90de8360c0dbdcc98649af2af8cb04506ec",
    "alternate int8 geometric": "c15cb72684b2ae559c380deef6474a0b64d903be9a40e47f8602980b0806fdbc",
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
