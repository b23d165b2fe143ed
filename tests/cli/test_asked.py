"""A question at a terminal hears Ctrl-C whenever it comes, and a terminal of our tests never waits without end."""

import sys

import pytest

from tests.cli.terminal import OnTerminal

# The signal's handler in C runs in another thread, which does not interrupt the main thread's read: the same as a signal
# that comes between Python's last look for one and the read, but each time.
ASKED = """
import os, signal, sys, threading, time
import click
from station.cli.asking import typed

def strike():
    seen = 0
    while seen < 5:  # at rest so often one after the other: it is in the system call in which it waits
        time.sleep(0.01)
        with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
            seen = seen + 1 if stat.read().rsplit(") ", 1)[1].startswith("S") else 0
    print("struck", flush=True)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

if STRUCK:
    threading.Thread(target=strike, daemon=True).start()
try:
    print("said:", HOW)
except click.Abort:
    sys.exit(130)
"""
HOWS = {
    "seen": "typed('Your id', hidden=False)",
    "unseen": "typed('Password')",
    "click's own": "click.prompt('Your id', err=True)",
}


def asked(how: str, *, struck: bool) -> OnTerminal:
    return OnTerminal([sys.executable, "-c", ASKED.replace("HOW", HOWS[how]).replace("STRUCK", str(struck))])


@pytest.mark.parametrize("how", ["seen", "unseen"])
def test_a_signal_that_came_just_before_the_wait_is_heard(how: str) -> None:
    with asked(how, struck=True) as screen:
        assert screen.end() == 130, screen.screen.text


def test_control_pythons_own_question_does_not_hear_it() -> None:
    with asked("click's own", struck=True) as screen:
        screen.wait_until(lambda text: "struck" in text)
        with pytest.raises(AssertionError, match="the time is over; on the screen: Your id"):
            screen.end(1.0)


def test_an_answer_is_a_line_and_an_empty_one_is_none() -> None:
    for how, echoed in (("seen", True), ("unseen", False)):
        with asked(how, struck=False) as screen:
            screen.wait_until(lambda text: ":" in text)
            screen.press("\n")
            screen.wait_until(lambda text: text.count(":") == 2)
            screen.press("so and so\n")
            assert screen.end() == 0, screen.screen.text
        *shown, said = screen.screen.text.splitlines()
        assert (said, any("so and so" in line for line in shown)) == ("said: so and so", echoed)


def test_the_end_of_the_input_is_no_answer() -> None:
    with asked("seen", struck=False) as screen:
        screen.wait_until(lambda text: "Your id:" in text)
        screen.press("\x04")
        assert screen.end() == 130
