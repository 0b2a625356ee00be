"""A job's bytes: what is left out of them, and what they must always be."""

from dataclasses import replace

import pytest

from openflock.protocol.job import BadJob, Job, decode_job, encode_job
from openflock.protocol.recipe import Recipe

JOB = Job("Title", "base", ("q_proj",), 4, 8, b"\1\2", ("one", "two"), 64)
BYTES = (
    b'{"alpha":8,"base":"base","domains":["one","two"],"max_length":64,"rank":4,"recipe":{"aggregator":"mean","clip":0,'
    b'"encoding":"int8","faulty":0,"grouping":0,"mixing":false,"mode":"alternate","momentum":0,"optimizer":"plain",'
    b'"rate":65536},"sealed":[],"seed":"0102","targets":["q_proj"],"title":"Title"}'
)


def test_a_job_is_the_bytes_that_it_always_was():
    assert encode_job(JOB) == BYTES
    assert decode_job(BYTES) == JOB


def test_what_younger_recipes_say_is_part_of_the_job():
    recipe = Recipe(decay=3, mixing=True, memory=3, faulty=400, clip=1000)
    younger = replace(JOB, recipe=recipe)
    assert b'"decay":3' in encode_job(younger)
    assert b'"memory":3' in encode_job(younger)
    assert decode_job(encode_job(younger)) == younger


@pytest.mark.parametrize("change", [{"rank": 0}, {"alpha": 0}, {"max_length": 1}])
def test_a_job_by_which_nobody_could_work_is_none(change):
    with pytest.raises(BadJob, match="must be"):
        decode_job(encode_job(replace(JOB, **change)))
