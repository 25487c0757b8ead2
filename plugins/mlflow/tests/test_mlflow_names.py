import posixpath

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param

from ponder_mlflow.names import flatten, metric_name, parameter_value, without_credentials


def test_the_at_of_pass_at_k_is_written_out():
    assert metric_name("pass@1_low") == "pass_at_1_low"


def test_a_name_that_mlflow_permits_stays_as_it_is():
    assert metric_name("rewards/accuracy.mean-1 : x") == "rewards/accuracy.mean-1 : x"


def test_a_name_cannot_climb_out_of_its_folder():
    assert not metric_name("../../etc/passwd").startswith("..")


@given(
    st.text()
    | st.text("./a@", max_size=12)
    | st.builds("{}/..{}".format, st.text("a", min_size=245, max_size=250), st.text("./a"))
)
def test_every_name_becomes_one_that_mlflow_takes(name):
    _validate_metric_name(metric_name(name))
    assert posixpath.normpath(metric_name(name)) == metric_name(name)
    assert len(metric_name(name)) <= 250


@given(st.text(st.characters(exclude_categories=())) | st.integers() | st.lists(st.floats()) | st.none())
def test_every_value_becomes_a_parameter_that_mlflow_takes(value):
    parameter = _validate_param("name", parameter_value(value))
    parameter.value.encode("utf-8")


def test_nested_options_get_dotted_names():
    assert dict(flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": {}})) == {"a.b": 1, "a.c.d": [2], "e": {}}


def test_a_long_value_is_cut_at_mlflow_limit():
    assert len(parameter_value("x" * 10_000)) == 6000


def test_credentials_of_a_url_are_left_out():
    assert without_credentials("to https://ann:s3cret@host:5000/x failed") == "to https://host:5000/x failed"
    assert parameter_value({"uri": "https://ann:s3cret@host"}) == '{"uri": "https://host"}'
