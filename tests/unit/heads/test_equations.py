from tests.unit.heads.paper import softmax
def test_x():
    assert softmax
