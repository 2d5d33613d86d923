"""The command of the page, but for the page."""

import socket
import threading
import urllib.request

import pytest

from multispin_env.apps.commands.main import main
from multispin_env.apps.explore import serving


@pytest.mark.parametrize(
    ("host", "told"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("10.0.0.1", True)],
)
def test_loopback_addresses_are_known(host, told):
    assert serving.is_loopback(host) is not told


@pytest.mark.parametrize("host", [None, "0.0.0.0"])
def test_it_says_where_it_is_and_whether_others_reach_it(host, capsys, monkeypatch):
    served = []
    monkeypatch.setattr(serving, "run_server", lambda app, at: served.append(at.getsockname()))
    asked = [] if host is None else ["--host", host]
    host = host or "127.0.0.1"  # only this machine is the default
    assert main(["explore", *asked, "--port", "0", "--no-browser"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"multispin explore: http://{host}:{served[0][1]}/ (Ctrl-C ends it)"
    assert served[0][0] == host
    expected = [f"multispin explore: whoever reaches {host} can use this page, without a password"]
    assert lines[1:] == ([] if host == "127.0.0.1" else expected)


def test_a_taken_port_is_one_sentence(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused("explore", ["--port", str(taken.getsockname()[1]), "--no-browser"])
    assert said.startswith("multispin explore: host and port: expected a free address of this machine, got 127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "nowhere.toml"], "nowhere.toml"),
        (["--host", "no.such.host.invalid"], "host and port: expected a free address"),
        (["--print", "/nowhere"], "view: expected one of"),
        (["--print", "/landscape?num_users=0"], "num_users: expected an integer in 1..40, got 0"),
    ],
)
def test_wrong_use_is_one_sentence(arguments, words, refused):
    assert words in refused("explore", ["--port", "0", "--no-browser", *arguments])


def test_who_asks_early_waits(monkeypatch):
    """The address is there before the page is."""
    with serving.open_socket("127.0.0.1", 0) as at:
        port = at.getsockname()[1]

        def answer():
            asked, _ = at.accept()
            with asked:
                asked.recv(1000)
                asked.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")

        late = threading.Timer(0.1, answer)
        late.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert page.read() == b"here"
        late.join()
