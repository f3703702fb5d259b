"""Which models a server has, what they can do, and what happens without any."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import EngineError, EngineGoneError, ServerError
from engine.protocol import (
    ChatMessage,
    ChatPrompt,
    Failed,
    Finished,
    Generate,
    Load,
    Sampling,
    TextPrompt,
    Token,
)
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient
from tests.engine.remote.asking import chunk, collect, connected, notices, question, wait_for

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer


async def test_the_model_is_found_by_its_name_or_a_part_of_it(scripted_server: ScriptedServer) -> None:
    models = [{"id": "/models/Big 70B.gguf", "aliases": [{}, None]}, {"id": "org/small", "aliases": ["s"]}]
    scripted_server.pages["/v1/models"] = (200, {"data": models})
    scripted_server.plays = [scripted_server.stream("a", chunk(finish="stop"))]
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        for wanted in ("org/small", "small", "s", "Big 70B", "Big 70B.gguf"):
            await client.load(Load(path=wanted))
            await collect(client, question())
        for wanted, words in (("huge", "has no model huge. It has: /models/Big"), ("", "has 2 models")):
            with pytest.raises(ServerError, match=words):
                await client.load(Load(path=wanted))
    ids = [request.body["model"] for request in scripted_server.asked]
    assert ids == ["org/small"] * 3 + ["/models/Big 70B.gguf"] * 2


async def test_a_model_can_be_named_where_there_is_no_list(scripted_server: ScriptedServer) -> None:
    del scripted_server.pages["/v1/models"]
    async with connected(scripted_server, model="gpt-x") as client:
        assert client.alive
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        with pytest.raises(ServerError, match="no list of models"):
            await client.load(Load(path=""))


async def test_abilities_are_read_from_the_servers_own_description(scripted_server: ScriptedServer) -> None:
    reference = {"$ref": "#/components/schemas/Request"}
    properties = {"top_k": {}, "continue_final_message": {}, "add_generation_prompt": {}}
    content = {"application/json": {"schema": reference}}
    scripted_server.pages["/openapi.json"] = (
        200,
        {
            "paths": {"/v1/chat/completions": {"post": {"requestBody": {"content": content}}}},
            "components": {"schemas": {"Request": {"properties": properties}}},
        },
    )
    scripted_server.plays = [scripted_server.stream("a", chunk(finish="stop"))]
    prompt = ChatPrompt(messages=[ChatMessage("user", "Colours?")], answer_text="Red")
    async with connected(scripted_server) as client:
        events = await collect(client, Generate(prompt=prompt, seed=1))
    body = scripted_server.asked[0].body
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert {"top_k"} == {"top_k", "min_p", "seed", "repeat_penalty"} & body.keys()
    assert notices(events) == []


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        ({}, Sampling()),
        ({"recommended_sampling": {"temperature": 0.2, "top_p": 0.9}}, Sampling(temperature=0.2, top_p=0.9)),
        ({"recommended_sampling": {"temperature": "hot"}}, Sampling()),
        ({"recommended_sampling": [0.2]}, Sampling()),
    ],
)
async def test_what_a_server_recommends_is_taken(
    scripted_server: ScriptedServer, told: dict[str, Any], taken: Sampling
) -> None:
    scripted_server.pages["/v1/models"] = (200, {"data": [{"id": "small", **told}]})
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        assert (await client.load(Load(path=""))).sampling == taken


async def test_tokens_are_asked_of_the_server(scripted_server: ScriptedServer) -> None:
    scripted_server.pages["/tokenize"] = (200, {"tokens": [5, 6], "token_strs": ["a", "b"]})
    scripted_server.pages["/detokenize"] = (200, {"prompt": "ab"})
    async with connected(scripted_server) as client:
        tokenized = await client.tokenize("ab")
        assert (tokenized.ids, tokenized.pieces) == ([5, 6], ["a", "b"])
        assert await client.detokenize([5, 6]) == "ab"
        del scripted_server.pages["/tokenize"]
        with pytest.raises(EngineError, match="404"):
            await client.tokenize("ab")


@pytest.mark.parametrize("tokens", [None, 5, "ab", [None], ["five"], [{}], [{"piece": "a"}], [[5]]])
async def test_a_server_whose_tokens_are_none_does_not_tell_them(scripted_server: ScriptedServer, tokens: Any) -> None:
    scripted_server.pages["/tokenize"] = (200, {"tokens": tokens})
    async with connected(scripted_server) as client:
        with pytest.raises(ServerError, match="does not tell tokens"):
            await client.tokenize("ab")


async def test_without_a_server_loading_fails_and_can_be_tried_again(scripted_server: ScriptedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    async with await RemoteClient.start(ServerConfig(base_url=f"http://127.0.0.1:{port}/v1")) as client:
        with pytest.raises(ServerError, match="cannot be reached"):
            await client.load(Load(path=""))
        assert client.alive


async def test_without_a_model_there_is_no_answer(scripted_server: ScriptedServer) -> None:
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        [failed] = await collect(client, question())
        assert isinstance(failed, Failed)
    with pytest.raises(EngineGoneError):
        await client.send(question())


async def test_another_load_and_closing_end_what_is_under_way(scripted_server: ScriptedServer) -> None:
    scripted_server.plays = [scripted_server.stream("a", then="stall")]
    async with connected(scripted_server) as client:
        await client.send(Generate(request_id="a", prompt=TextPrompt(text="a")))
        await wait_for(client, Token)
        await client.load(Load(path=""))
        assert (await wait_for(client, Finished)).reason == "stopped"
        await client.send(Generate(request_id="b", prompt=TextPrompt(text="b")))
        await wait_for(client, Token)
    assert (await wait_for(client, Finished)).request_id == "b"
    assert not client.alive
