import pytest

from pipeline.errors import InputFormatError
from pipeline.formats.problems import MAX_EXAMPLES, OnError, Problems


def test_the_first_problem_is_an_error():
    problems = Problems()
    error = InputFormatError("file: expected this, found that", hint="do so")
    with pytest.raises(InputFormatError) as caught:
        problems.report("odd-row", error)
    assert caught.value is error
    assert not problems.counts


def test_skipped_problems_are_counted_by_reason_and_the_first_ones_kept():
    problems = Problems(OnError.SKIP)
    for number in range(2 * MAX_EXAMPLES):
        problems.report("odd-row" if number % 2 else "even-row", InputFormatError(f"row {number}", hint="no matter"))
    assert problems.counts == {"odd-row": MAX_EXAMPLES, "even-row": MAX_EXAMPLES}
    assert problems.examples == [f"row {number}" for number in range(MAX_EXAMPLES)]


def test_policies_have_the_names_that_people_type():
    assert [policy.value for policy in OnError] == ["stop", "skip"]


def test_what_was_skipped_adds_up():
    problems = Problems()
    problems.pass_over({"consensus": 2}, 1)
    problems.pass_over({"consensus": 1, "pseudo-record": 4})
    assert problems.skipped == {"consensus": 3, "pseudo-record": 4}
    assert problems.num_comment_lines == 1
