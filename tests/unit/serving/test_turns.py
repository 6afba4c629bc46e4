"""Who makes the next step: fair by tenant, within a budget of rows."""

from dataclasses import dataclass

from serving.turns import Turns


@dataclass(eq=False)
class Job:
    name: str
    tenant: str
    rows: int
    turn: int = 0


def names(chosen: list[Job]) -> str:
    return "".join(sorted(job.name for job in chosen))


def test_all_go_together_while_there_is_room() -> None:
    turns, jobs = Turns(100), [Job("a", "x", 40), Job("b", "x", 40), Job("c", "y", 20)]
    assert [names(turns.choose(jobs)) for _ in range(3)] == ["abc"] * 3
    assert turns.choose([]) == []


def test_jobs_of_one_tenant_rotate() -> None:
    turns, jobs = Turns(100), [Job(name, "x", 50) for name in "abc"]
    taken = "".join(names(turns.choose(jobs)) for _ in range(6))
    assert [taken.count(name) for name in "abc"] == [4, 4, 4]


def test_a_job_above_the_budget_goes_alone_and_small_ones_wait_for_one_step_of_it() -> None:
    turns, huge, small = Turns(100), Job("h", "x", 5000), Job("s", "x", 10)
    assert [names(turns.choose([huge, small])) for _ in range(4)] == ["h", "s", "h", "s"]


def test_a_tenant_with_many_jobs_gets_no_more_than_one_with_few() -> None:
    turns = Turns(100)
    jobs = [Job("a", "x", 50) for _ in range(9)] + [Job("b", "y", 50)]
    assert [names(turns.choose(jobs)) for _ in range(3)] == ["ab"] * 3


def test_who_comes_late_is_owed_nothing() -> None:
    turns, early, late = Turns(100), Job("e", "x", 100), Job("l", "y", 100)
    for _ in range(50):
        turns.choose([early])
    assert [names(turns.choose([early, late])) for _ in range(4)].count("l") == 2


def test_rows_count_across_tenants_not_steps() -> None:
    """Ten small steps for one tenant, or one large one for the other."""
    turns, large, small = Turns(100), Job("L", "x", 100), Job("s", "y", 10)
    taken = "".join(names(turns.choose([large, small])) for _ in range(22))
    assert taken.count("s") == 10 * taken.count("L")
