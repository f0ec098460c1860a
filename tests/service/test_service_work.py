"""A server that ends only when nothing is being drawn: else compiled code would end Python by an abort."""

import threading

import pytest

from rtplan.service import review, view
from rtplan.service.loopback import Request


def close_while(server, call):
    """Close a server while one of its answers is under way; return whether it was waited for."""
    begun, ended, go_on = threading.Event(), threading.Event(), threading.Event()

    def reckon():
        with server.work.one():
            begun.set()
            go_on.wait(10)
            call()
            ended.set()

    threading.Thread(target=reckon).start()
    assert begun.wait(10)
    threading.Timer(0.2, go_on.set).start()
    server.server_close()
    return ended.is_set()


@pytest.mark.parametrize("room", ["view", "review"])
def test_a_server_is_closed_only_when_nothing_is_being_reckoned(room, viewed_run, out):
    server = view.serve(viewed_run) if room == "view" else review.serve(out)
    assert close_while(server, lambda: None)
    with pytest.raises(RuntimeError), server.work.one():
        pass


def test_a_review_draws_no_picture_once_it_is_closed(out):
    server = review.serve(out)
    assert server.answer(Request("/picture/s0-0.png")).status == 200
    server.server_close()
    with pytest.raises(RuntimeError):
        server.answer(Request("/picture/s0-1.png"))
