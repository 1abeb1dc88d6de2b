"""Found by every Python that a case starts: a worker is given the trap that was set for it."""

from tests.torture.trap import in_worker

in_worker()
