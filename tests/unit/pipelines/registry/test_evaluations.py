"""Evaluations as they are recorded with versions."""

from pipelines.registry import evaluation_set_id


def test_the_evaluation_set_has_a_name_of_its_own() -> None:
    values = {"fingerprint": "f", "split": "test", "clips": ["a", "b"], "max_frames": 64}
    name = evaluation_set_id(**values)
    assert name == evaluation_set_id(**values | {"clips": ["b", "a"]})
    others = [{"fingerprint": "g"}, {"split": "val"}, {"clips": ["a"]}, {"max_frames": 65}]
    assert len({name, *(evaluation_set_id(**values | other) for other in others)}) == 5
