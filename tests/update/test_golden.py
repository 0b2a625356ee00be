"""Pin every bit of short histories: whoever changes one of these breaks the replay of all tasks."""

import os
import subprocess
import sys

import pytest

from openflock.protocol.recipe import Recipe

from . import golden

HISTORY = [
    "b85d3bbaff3e7e8b0190d31efff4d2508cbd8ed5e021c5922d3a21f3c4516565",  # the initial state
    "40501255daaaae9fdeb7c776ff74edbdbb7358561731671bcc22d72de8d3e059",  # an update of B
    "1228171580034954150830846009/9903520314283042199192993792",  # its squared norm
    "(0, 1, 0, 3)",  # the third proposal copies the first
    "1bea2ac56454a7016b8a75b1114762a226e0260fb9bb86218b3e9a2d59bb4f92",  # the state after one step
    "7a74005cad0246a3c97bad99ab9beb3a66c6a0ed9fac491af4e72376407b022d",  # an update of A
    "72078540171095073813161109/19807040628566084398385987584",
    "(0, 1, 0, 3)",
    "8b6309d9fa9bf8505bab609b0a8aa27b466b68bf851c0b69a53b31028701d369",  # the state after two steps
]

DIGESTS = {  # of all that a history tells, by recipe
    "alternate int8 plain": "940dc82130973d1c190f458d79e6b86d5d77255fda77b960a019bbf711095fac",
    "alternate int8 nesterov": "ac1b7156431574f74a3eeae0340bece91565180081c9cd6811c4956e49cf32c4",
    "alternate int4 plain": "f8d20e7d67c9330b168a80e0c422e92367e95651440ff9ad756c766945ac0e08",
    "alternate int4 nesterov": "31ea16cb2dda2fa1a254d5d5b256fcff091deed81bef505361db8c4e99bab0d2",
    "alternate ternary plain": "7ac1035dad370179bef4ddaf056db6458f41cd4237c2fe70c1c90e742ae55218",
    "alternate ternary nesterov": "7de4e0b4e6b54973ad90d90bc90872eaff081ad517c59815c39acf0bc8ba1beb",
    "alternate sparse4 plain": "7a2c3727e1ed6e7980bf8ffa4b066641e6bbe453f930ba510a53fdec639ade79",
    "alternate sparse4 nesterov": "129f0dfd43b57bddf13ba76897ed0007a4e6ce9fdc8097cf4f1e1e3bdc86291c",
    "ffa int8 plain": "3151dd565691265758a20e28f2e59fbc0df2562d571a98d647fdfcaaa7f750b3",
    "ffa int8 nesterov": "c50164d877928ecd572fe82799e58fbe3c2d78da1d0a03dd52029356853b736e",
    "ffa int4 plain": "e5ceccbf0de0cbbe7614aedeb58d5369a435fc45b4325244236d0dbda4fed0a9",
    "ffa int4 nesterov": "00cbaa3999740ef88711492558cf32c08c68dc96f500aa8c34f8621c714aec9e",
    "ffa ternary plain": "6befd41dc9cd64415bff34561315ea76fc89f76a73bd7d0ff7a719d1dfc58584",
    "ffa ternary nesterov": "cddd2886dbe86daa2a11ed81e39c3f84633e7b46bdbacb2f5293554a2074835e",
    "ffa sparse4 plain": "4639d33a5fd97329b390904902737af04c78747c9b66e467d081e9478fdb2e31",
    "ffa sparse4 nesterov": "219fab1c68e27f70a747e3cab394105a4b655a967d437b4ad8ccb02bf2ebbfdc",
    "stack int8 plain": "1fd6ab59811c36302cadeaddff574357a6cb2fe930cf16c2171212e60288d9e2",
    "stack int4 plain": "197e86666d7b765985df5400ba8d9bad07778b8c0fd4780c8587d9671426c4e8",
    "stack ternary plain": "57685ec2b04bf23154bc362f14be30190b7f1b8cb34c23d4f4c80c2f6b14279b",
    "stack sparse4 plain": "87a1ac825299c6d87707574c0d7119116261f9b6c62f39c7d8f53c02f46c7517",
    "alternate int8 krum": "78c263793ac1ae43e9a770679cf6a1152dd74ae8bc06a4b643c6aaeb3f14cd5a",
    "alternate int4 trimmed": "3a5e00dd615f6fc30aaa2c1d6877b6d6d460802b37a336beccdaa4cc3e01e73c",
    "alternate int8 by domain": "5e8d7ac27cbe63aaec35af3b92509624278c0ccebdcef518d78c7c8e520c4001",
    "alternate int8 remembering": "4d3337a91e65e7f29a54487d484cb9ea7f97493c602444d0413826d37a5153a5",
    "separate int8 remembering": "4fb539f20a09ca44ad45f6f63d6cfe0d4af1e19e1a2cdb49cb3b5bf791668e14",
    "alternate int8 adam": "d7a21959370cef1afabcd232dbb7cddf9c1a15e1e7a77003f146ec55c458ecb8",
    "separate int8 adam": "031066b7ef4b5dc8a757d86584072ba847eb190b7b06ff69c243b619eaecbfb3",
    "separate int8 adam, slower": "30a70bc244f00a88a055fe2de24aa944b03c48153f75e8ab8fbfbc1a3496135a",
    "ffa int8 nesterov, slower": "95d1898fe67c843b1e7e5c386c5cd048a023c4843456dfdb4212c6b3a0252ab9",
    "separate int4 plain": "7c17d9ebdac68689401a10c167b7f105a00ea25b0649debe722174ca33aff4c1",
    "alternate int8 geometric": "2c4419d0a739f254a88bd5817946c8130b4ef1229f3214ab4fed93afc16ee1b8",
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
