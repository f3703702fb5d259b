"""What may follow is found where most of the latest tokens have occurred before."""

from __future__ import annotations

from engine.answers.lookup import LONG_COPY, LONGEST_MATCH, PLACES, PLACES_OF_ONE, Lookup

TEXT = list(range(100, 130))


def test_what_followed_the_latest_occurrence():
    lookup = Lookup()
    assert lookup.guess([1, 2, 50, 51, 1, 2], 4) == ([50, 51, 1, 2], 2)
    assert lookup.guess([1, 2, 50, 51, 1, 2, 60, 1, 2], 2) == ([60, 1], 2)
    assert lookup.guess([1, 2, 50, 51, 1, 2, 60, 1, 2, 99], 2).ids == []


def test_a_longer_match_goes_before_a_later_one():
    ids = [9, 8, 1, 2, 50, 7, 1, 2, 60, 9, 8, 1, 2]
    assert Lookup().guess(ids, 1) == ([50], 4)


def test_nothing_is_guessed_of_a_text_too_short():
    for ids in ([], [1], [1, 2], [1, 1]):
        assert Lookup().guess(ids, 4).ids == []


def test_matches_have_a_limit_and_the_start_of_the_text_ends_them():
    assert Lookup().guess([*TEXT, *TEXT[:20]], 3) == (TEXT[20:23], LONGEST_MATCH)
    assert Lookup().guess([*TEXT, *TEXT[:5]], 3) == (TEXT[5:8], 5)


def test_a_text_that_says_the_same_over_and_over_is_looked_at_in_part():
    early = [9, 8, 1, 2, 50]
    assert Lookup().guess([*early, *[1, 2, 60] * PLACES, 9, 8, 1, 2], 1) == ([60], 2)


def test_where_only_the_last_token_has_occurred_what_followed_it_most_often_may_again():
    ids = [50, 1, 60, 2, 1, 70, 3, 1, 60, 4, 1, 80, 5, 1]
    assert Lookup().guess(ids, 3) == ([60, 4, 1], 1)


def test_of_what_followed_a_single_token_the_latest_places_count():
    ids = [*[1, 60, 2, 3] * PLACES_OF_ONE, *[1, 70, 4, 5] * PLACES_OF_ONE, 6, 1]
    assert Lookup().guess(ids, 1) == ([70], 1)


def test_a_long_copy_goes_on_behind_tokens_that_were_changed():
    lookup = Lookup()
    ids = [*TEXT, *TEXT[:LONG_COPY]]
    assert lookup.guess(ids, 4) == (TEXT[8:12], LONG_COPY)
    ids += [*TEXT[8:11], 7]
    assert lookup.guess(ids, 4) == (TEXT[12:16], 0)
    ids += [8]
    assert lookup.guess(ids, 4) == (TEXT[13:17], 0)
    ids += [9]
    assert lookup.guess(ids, 4).ids == []


def test_after_a_short_copy_nothing_is_guessed_behind_a_change():
    lookup = Lookup()
    ids = [*TEXT, *TEXT[: LONG_COPY - 1]]
    assert lookup.guess(ids, 4).ids == TEXT[7:11]
    ids += [7]
    assert lookup.guess(ids, 4).ids == []
