from captioning.drift import EXAMPLES, WATCHED, drift, watched, word_f1


def test_the_watched_set_is_fixed_by_ids_and_hardly_moves_as_the_lake_grows() -> None:
    ids = [f"clip{number}" for number in range(1000)]
    first = watched(ids)
    assert len(first) == WATCHED
    assert watched(reversed(ids)) == first
    assert len(set(watched([*ids, *(f"new{number}" for number in range(100))])) & set(first)) > 24


def test_word_f1_counts_words_and_not_their_case() -> None:
    assert word_f1("A red ball", "a RED ball") == 1
    assert word_f1("a red ball", "a blue ball") == 2 * 2 / 6
    assert word_f1("a a", "a") == 2 / 3
    assert word_f1("a", "b") == 0
    assert word_f1("", "") == 1


def test_drift_compares_what_both_versions_said_and_shows_the_worst_first() -> None:
    before = {f"c{n:02}": "one two three four" for n in range(10)} | {"gone": "x"}
    after = {f"c{n:02}": " ".join(["one", "two", "three", "four"][: n // 3 + 1]) for n in range(10)}
    found = drift(before, after | {"new": "y"})
    assert (found["clips"], found["changed"]) == (10, 9)
    assert [entry["clip_id"] for entry in found["examples"]] == [
        f"c{n:02}" for n in range(EXAMPLES)
    ]
    same = drift({"a": "A dog."}, {"a": "a dog ."})
    assert (same["changed"], same["word_f1"], same["examples"]) == (0, 1.0, [])
    assert drift({}, {})["clips"] == 0
