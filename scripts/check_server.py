#!/usr/bin/env python3
"""Asks `perk serve` with OpenAI's own client: models, chats and completions, streams, faults, memories.

    check_server.py [--checkpoint DIR]

Without --checkpoint two steps of the quickstart are taken in a folder of their own. perk is what PERK names, or built by
cargo in the profile that PERK_PROFILE names (`dev`). The exit code is 1 if anything differs from what the client expects.
"""

import argparse
import tempfile
from pathlib import Path

import openai

from lib.perk_server import Server, make_checkpoint

STORY = (Path(__file__).parent.parent / "data/story/story.txt").read_text()
QUESTION = [{"role": "user", "content": "Where is John?"}]


def check_answers(client, model):
    """One model gives the same answer whole and as a stream."""
    whole = client.chat.completions.create(model=model, messages=QUESTION, seed=1)
    text, reason = whole.choices[0].message.content, whole.choices[0].finish_reason
    assert whole.model == model and reason in ("stop", "length"), whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage
    parts = list(client.chat.completions.create(
        model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}))
    joined = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert joined == text, (joined, text)
    assert parts[-1].usage == whole.usage, (parts[-1].usage, whole.usage)
    completion = client.completions.create(model=model, prompt="Mary went to the", max_tokens=5, temperature=0.7, seed=3)
    stream = client.completions.create(
        model=model, prompt="Mary went to the", max_tokens=5, temperature=0.7, seed=3, stream=True)
    joined = "".join(part.choices[0].text for part in stream)
    assert joined == completion.choices[0].text, (joined, completion)
    return text


def check_faults(client):
    """What is wrong raises the client's own exceptions, with the field."""
    def fault(kind, **request):
        try:
            client.chat.completions.create(**{"model": "base", "messages": QUESTION, **request})
        except kind as raised:
            return raised
        raise AssertionError(f"{request} raised no {kind.__name__}")

    assert fault(openai.NotFoundError, model="nobody").code == "model_not_found"
    assert fault(openai.BadRequestError, temperature=9).param == "temperature"
    assert fault(openai.BadRequestError, n=2).param == "n"
    assert fault(openai.BadRequestError, extra_body={"surprise": 1}).param == "surprise"


def check_memories(client):
    """A document becomes a model; the same one is known."""
    memory = client.post("/memories", cast_to=object, body={"text": STORY, "name": "story.txt"})
    for _ in range(600):
        memory = client.get(f"/memories/{memory['id']}", cast_to=object)
        if memory["status"] == "ready":
            break
        assert memory["status"] in ("queued", "encoding"), memory
    again = client.post("/memories", cast_to=object, body={"text": STORY, "name": "other"})
    assert again["id"] == memory["id"] and again["status"] == "ready", again
    assert memory["id"] in [model.id for model in client.models.list()]
    assert client.models.retrieve(memory["id"]).owned_by == "perk"
    return memory["id"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    checkpoint = parser.parse_args().checkpoint
    with tempfile.TemporaryDirectory() as room:
        room = Path(room)
        checkpoint = checkpoint.resolve() if checkpoint else make_checkpoint(room)
        with Server(checkpoint, room / "adapters", token="s3cret") as server:
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="s3cret", max_retries=0)
            story = check_memories(client)
            answers = {model: check_answers(client, model) for model in (story, "base")}
            check_faults(client)
            client.delete(f"/memories/{story}", cast_to=object)
            assert story not in [model.id for model in client.models.list()]
            try:
                openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
                raise AssertionError("a wrong token was let in")
            except openai.AuthenticationError:
                pass
    print(f"the client of OpenAI {openai.__version__} is served as it expects: {answers}")


if __name__ == "__main__":
    main()
