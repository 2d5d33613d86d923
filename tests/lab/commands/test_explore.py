import socket
import threading
import urllib.request

import pytest

from multispin_env.apps.commands.main import main
from multispin_lab.explore import serving


def test_loopback_addresses():
    assert all(map(serving.is_loopback, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(serving.is_loopback, ("0.0.0.0", "10.0.0.1")))


@pytest.mark.parametrize("options", [[], ["--host", "0.0.0.0"]], ids=len)
def test_it_prints_its_address_and_whether_others_reach_it(options, capsys, monkeypatch):
    served = []
    monkeypatch.setattr(serving, "run_server", lambda app, socket: served.append(socket.getsockname()))
    host = options[-1] if options else "127.0.0.1"
    assert main(["explore", *options, "--port", "0", "--no-browser"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"multispin explore: http://{host}:{served[0][1]}/ (Ctrl-C ends it)"
    assert served[0][0] == host
    expected = [f"multispin explore: anyone who can reach {host} can use this page without a password"]
    assert lines[1:] == ([] if host == "127.0.0.1" else expected)


def test_a_taken_port_is_one_sentence(refused):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = refused("explore", ["--port", str(taken.getsockname()[1]), "--no-browser"])
    words = "multispin explore: host and port: expected a free address of this machine, got 127.0.0.1:"
    assert message.startswith(words)


def test_an_early_request_waits():
    """The address is open before the page is ready."""
    with serving.open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhere")

        late = threading.Timer(0.1, answer)
        late.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert page.read() == b"here"
        late.join()
