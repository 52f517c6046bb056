"""What a model may do to the process that it is in, and to others."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time


def sleep():
    time.sleep(600)


def leave():
    os._exit(3)


def leave_politely():
    sys.exit("no licence for this model")


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--needed", required=True)
    parser.parse_args()


def ask():
    input("Which weights? ")


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def kill_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def fork_and_leave():
    """The child sleeps, with all descriptors that the process had; the process ends."""
    if os.fork():
        os._exit(0)
    time.sleep(600)


def fork_and_return():
    os.fork()


def leave_a_daemon():
    """In a session of its own, and nobody's child."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)


def leave_a_program():
    """Without a word of the environment that it was started in."""
    subprocess.Popen(["/bin/sleep", "604.8"], env={}, start_new_session=True)


def print_much():
    os.write(1, b"x" * 100_000_000)


def complain_at_length():
    raise RuntimeError("\x1b[31mred\x1b]0;title\x07 " + "y" * 5_000_000)


def close_descriptors():
    os.closerange(3, 4096)


def close_everything():
    os.closerange(0, 4096)


def go_elsewhere():
    os.chdir("/")


def delete_the_journal():
    shutil.rmtree(os.environ["RESULTS"] + "/journal")


def leave_and_sleep():
    leave_a_daemon()
    leave_a_program()
    sleep()
