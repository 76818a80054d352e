import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.serving import gathering
from vidret.pipelines.serving.gathering import MOST_TOGETHER, BusyError, Gathering


def ask_all(answer_all, questions, timeout=5.0):
    async def ask():
        with ThreadPoolExecutor(1) as executor:
            one = Gathering(answer_all, executor)
            asked = [one.ask(question, timeout=timeout) for question in questions]
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


def test_each_gets_its_own_answer_from_a_few_passes():
    passes = []

    def double(questions):
        passes.append(len(questions))
        return [2 * question for question in questions]

    assert ask_all(double, range(100)) == [2 * n for n in range(100)]
    assert sum(passes) == 100
    assert max(passes) == MOST_TOGETHER
    assert len(passes) < 10


def test_one_bad_question_spoils_no_other():
    def refuse_three(questions):
        if 3 in questions:
            raise ConfigError("three makes no sense")
        return list(questions)

    answers = ask_all(refuse_three, range(6))
    assert [answer for answer in answers if isinstance(answer, int)] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], ConfigError)


def test_a_pass_that_hangs_is_given_up():
    let_go = threading.Event()

    async def ask():
        executor = ThreadPoolExecutor(1)
        one = Gathering(lambda questions: [let_go.wait(5)] * len(questions), executor)
        try:
            with pytest.raises(BusyError, match=r"no answer within 0\.05 s"):
                await one.ask("dog", timeout=0.05)
        finally:
            let_go.set()
            executor.shutdown()

    asyncio.run(ask())


def test_too_many_are_turned_away_at_once(monkeypatch):
    monkeypatch.setattr(gathering, "MOST_WAITING", 4)
    answers = ask_all(list, range(10))
    assert sum(isinstance(answer, BusyError) for answer in answers) == 6


def test_questions_at_once_are_answered_as_they_are_alone(ask, world):
    requests = [("/api/search", {"params": {"q": text, "top": 20}}) for text in world.sentences]
    alone = [ask(path, **options).json() for path, options in requests]
    together = [response.json() for response in ask.all(requests * 2)]
    for one, other in zip(alone * 2, together, strict=True):
        assert [hit["id"] for hit in one["hits"]] == [hit["id"] for hit in other["hits"]]
