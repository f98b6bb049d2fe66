"""Reading YAML: values, places, and nothing of the text in what is said about errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.config.document import Document


def test_values_are_those_of_yaml_1_2() -> None:
    text = "[~, null, true, False, 12, -1, 1.5, no, on, 1:30, 0123, 0x10, 1_000, 2026-01-22, 1e3, .5, 'true', '']"
    assert Document(text).data == [
        None, None, True, False, 12, -1, 1.5,
        "no", "on", "1:30", "0123", "0x10", "1_000", "2026-01-22", "1e3", ".5", "true", "",
    ]  # fmt: skip


def test_keys_are_text() -> None:
    assert Document("{1: a, no: b, null: c, 1.5: d, true: e}").data == {
        "1": "a", "no": "b", "null": "c", "1.5": "d", "true": "e",
    }  # fmt: skip


def test_an_explicit_string_is_one() -> None:
    assert Document("a: !!str 12").data == {"a": "12"}


def test_places_are_those_of_keys_and_items() -> None:
    document = Document("a:\n  b: 1\n  c: [x,\n      {d: 2}]\n")
    assert document.place(()) == (1, 1)
    assert document.place(("a",)) == (1, 1)
    assert document.place(("a", "b")) == (2, 3)
    assert document.place(("a", "c", 0)) == (3, 7)
    assert document.place(("a", "c", 1, "d")) == (4, 8)


@pytest.mark.parametrize("path", [("b",), ("a", "b"), ("c", 2), ("c", "x"), ("c", -1, "d"), ("a", 0)])
def test_what_is_not_there_has_no_place(path: tuple[str | int, ...]) -> None:
    assert Document("a: 1\nc: [1, 2]\n").place(path) is None


def test_what_is_merged_in_has_the_place_where_it_is_written() -> None:
    document = Document("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc:\n  <<: [{x: 4}, *a]\n")
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 4, "y": 2}
    assert document.place(("b", "x")) == (1, 8)
    assert document.place(("b", "y")) == (2, 13)
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("a: 1\na: 2\n", "a is given twice, first in line 1; keep one of them", (2, 1)),
        ("{a: {b: 1, 'b': 2}}", "b is given twice", (1, 12)),
        ("a:\n\tb: 1\n", "a tab is used for indentation", (2, 1)),
        ("a: {b: 1\n", "the bracket or brace opened before is not closed", (2, 1)),
        ("a: 'hunter2\n", "a quote is opened before and never closed", (2, 1)),
        ("a: @hunter2\n", "a value cannot begin with this character", (1, 4)),
        ("a: *hunter2\n", "a value that begins with * refers to an anchor, and there is none", (1, 4)),
        ("a: !hunter2 x\n", "tags (words that begin with !) are not used", (1, 4)),
        ("a: !!int hunter2\n", "tags (words that begin with !) are not used", (1, 4)),
        ("a: hunter2: b\n", "a colon is not expected here", (1, 11)),
        ("a: 1\n b: 2\n", "a colon is not expected here", (2, 3)),
        ("- a\nb: 1\n", "the list's items must stand at the same column", (2, 1)),
        ("? [hunter2]\n: 1\n", "a key must be a plain word", (1, 3)),
        ("a: 1\n<<: hunter2\n", "<< takes a mapping or a list of mappings", (2, 5)),
        ("a: 1\nb: x\x01y\n", "has a control character here", (2, 5)),
        ('a: "hunter\\q2"\n', "is not valid YAML: found unknown escape character", (1, 11)),
        ("&a {b: *a}", "is nested too deeply or refers to itself", (1, 1)),
        ("a: 1\n--- \nb: 2\n", "the file holds a second document", (2, 1)),
    ],
)
def test_a_problem_of_the_text(text: str, words: str, at: tuple[int, int]) -> None:
    (problem,) = Document(text).problems
    assert words in problem.text
    assert problem.at == at
    assert "hunter" not in problem.text


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
    (problem,) = Document("\n".join(lines)).problems
    assert "nested too deeply" in problem.text


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text("abc ,:#'\"*&!-?no019", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abno01", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abno01", min_size=1), _VALUES, max_size=4))
def test_json_means_what_it_says(value: dict[str, object]) -> None:
    """JSON is YAML: every value comes back, and every key has a place."""
    import json

    document = Document(json.dumps(value, indent=1))
    assert document.problems == []
    assert document.data == value
    assert all(document.place((key,)) for key in value)
