"""Whom a server's client trusts, which way it takes, and whom it never gives the key."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import ServerError
from engine.protocol import Failed, Generate, Load, TextPrompt, Token
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer

KEY = "transport-key-52"
STOP: dict[str, Any] = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    for name in (*PROXIES, *map(str.lower, PROXIES)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for `localhost` that nobody has signed but itself, and its private key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificate.")
    folder = tmp_path_factory.mktemp("tls")
    names = (folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=llm-tui test", "-out", str(names[0]), "-keyout", str(names[1])]
    for extension in ("subjectAltName=DNS:localhost", "keyUsage=critical,digitalSignature,keyCertSign"):
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True)
    return names


@pytest.fixture
async def tls_port(scripted_server: ScriptedServer, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """The scripted server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", scripted_server.port)
            inner_writer.write(await reader.readuntil(b"\r\n\r\n"))
            body = asyncio.create_task(copy(reader, inner_writer))
            await copy(inner_reader, writer)
            body.cancel()
            inner_writer.close()
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


async def test_a_certificate_of_ones_own_counts_when_it_is_named(
    scripted_server: ScriptedServer, tls_port: int, certificate: tuple[Path, Path]
) -> None:
    scripted_server.plays = [scripted_server.stream({"choices": [{"index": 0, "text": "a"}]}, STOP)]
    config = ServerConfig(base_url=f"https://localhost:{tls_port}/v1", ca_file=str(certificate[0]))
    async with await RemoteClient.start(config) as client:
        await client.load(Load(path=""))
        events = [event async for event in client.ask(Generate(prompt=TextPrompt(text="x")))]
    assert [event.text for event in events if isinstance(event, Token)] == ["a"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_otherwise_it_is_not_trusted_and_nothing_is_sent(
    scripted_server: ScriptedServer, tls_port: int, certificate: tuple[Path, Path], host: str
) -> None:
    ca_file = "" if host == "localhost" else str(certificate[0])
    config = ServerConfig(base_url=f"https://{host}:{tls_port}/v1", api_key_env="THE_KEY", ca_file=ca_file)
    async with await RemoteClient.start(config) as client:
        with pytest.raises(ServerError, match=r"cannot be trusted.*ca_file"):
            await client.load(Load(path=""))
    assert scripted_server.heard == []


async def test_certificates_that_cannot_be_read_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "nothing.pem"):
        with pytest.raises(ServerError, match=f"{name} cannot be read"):
            await RemoteClient.start(ServerConfig(base_url="https://localhost/v1", ca_file=str(tmp_path / name)))


async def test_no_redirect_takes_the_key_along(scripted_server: ScriptedServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        where = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v1/completions"
        scripted_server.plays = [scripted_server.page(307, b"", Location=where)]
        async with await RemoteClient.start(
            ServerConfig(base_url=scripted_server.url, api_key_env="THE_KEY")
        ) as client:
            await client.load(Load(path=""))
            [failed] = [event async for event in client.ask(Generate(prompt=TextPrompt(text="x")))]
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert isinstance(failed, Failed)
    assert f"sends us on to {where}" in failed.message
    assert {request.headers["authorization"] for request in scripted_server.heard} == {f"Bearer {KEY}"}


async def test_a_proxy_of_the_environment_is_taken(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://cluster.invalid/v1"
    scripted_server.pages[f"{address}/models"] = scripted_server.pages["/v1/models"]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{scripted_server.port}")
    async with await RemoteClient.start(ServerConfig(base_url=address)) as client:
        assert (await client.load(Load(path=""))).name == "tiny"
    monkeypatch.setenv("NO_PROXY", "cluster.invalid")
    async with await RemoteClient.start(ServerConfig(base_url=address)) as client:
        with pytest.raises(ServerError, match=r"cluster\.invalid cannot be reached"):
            await client.load(Load(path=""))


async def test_no_proxy_is_asked_for_this_machine(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        assert (await client.load(Load(path=""))).name == "tiny"


async def test_a_key_has_its_header_and_more_headers_go_along(scripted_server: ScriptedServer) -> None:
    config = ServerConfig(
        base_url=scripted_server.url, api_key_env="THE_KEY", api_key_header="api-key", headers={"X-Team": "blue"}
    )
    async with await RemoteClient.start(config) as client:
        await client.load(Load(path=""))
    headers = scripted_server.heard[0].headers
    assert (headers["api-key"], headers["x-team"]) == (KEY, "blue")
    assert "authorization" not in headers


async def test_a_key_on_an_open_line_is_told_of(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://cluster.invalid/v1"
    scripted_server.pages[f"{address}/models"] = scripted_server.pages["/v1/models"]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{scripted_server.port}")
    async with await RemoteClient.start(ServerConfig(base_url=address, api_key_env="THE_KEY")) as client:
        await client.load(Load(path=""))
        said = [str(client.events.get_nowait()) for _ in range(client.events.qsize())]
    assert len([text for text in said if "go to cluster.invalid unencrypted" in text]) == 1


@pytest.mark.parametrize(("n_deaf", "found"), [(1, True), (2, False)])
async def test_a_question_is_asked_twice_where_the_connection_ends(
    scripted_server: ScriptedServer, n_deaf: int, found: bool
) -> None:
    scripted_server.n_deaf = n_deaf
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        if found:
            assert (await client.load(Load(path=""))).name == "tiny"
        else:
            with pytest.raises(ServerError, match="was lost"):
                await client.load(Load(path=""))
    assert [request.path for request in scripted_server.heard[:2]] == ["/v1/models", "/v1/models"]


async def test_an_answer_to_a_question_is_bounded(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.remote.transport.MAX_JSON_BYTES", 1000)
    scripted_server.pages["/v1/models"] = (200, {"data": [{"id": "x" * 2000}]})
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        with pytest.raises(ServerError, match="The server's answer has more than"):
            await client.load(Load(path=""))


@pytest.mark.parametrize("page", [b"<html>hello</html>", {"data": "none"}, ["a"]])
async def test_what_is_no_list_of_models_is_said_to_be_none(scripted_server: ScriptedServer, page: Any) -> None:
    scripted_server.pages["/v1/models"] = (200, page)
    async with await RemoteClient.start(ServerConfig(base_url=scripted_server.url)) as client:
        with pytest.raises(ServerError, match="base_url"):
            await client.load(Load(path=""))


async def test_a_host_that_only_the_http_library_refuses_is_told() -> None:
    with pytest.raises(ServerError, match="is no address of a server"):
        await RemoteClient.start(ServerConfig(base_url="http://\N{SNOWMAN}.net/v1"))
