"""The analyzer without a server: make test, or pytest with weir.py in PYTHONPATH."""
import weir
from @ import Mean


def test_the_mean_of_some_values():
    assert weir.run(Mean, {'value': [1.5, 1.0, 5.0]}) == (2.5, 3)


def test_a_value_is_its_own_mean():
    assert weir.run(Mean, {'value': [7]}).mean == 7.0
