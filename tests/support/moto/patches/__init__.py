"""What `server.py` changes in moto so that gantry meets AWS there. `gaps.toml` lists every one of them."""

import functools


def replace(owner, name):
    """Puts a function in place of `owner.name`; what stood there is its first argument."""

    def put(new):
        old = getattr(owner, name)

        @functools.wraps(old)
        def method(self, *args, **kwargs):
            return new(old, self, *args, **kwargs)

        setattr(owner, name, method)
        return new

    return put


def add(owner):
    """Adds a function to a class under its own name."""

    def put(new):
        setattr(owner, new.__name__, new)
        return new

    return put


def apply():
    """Importing a module applies its patches."""
    from . import balancing, caches, compute, databases, identity, network, others  # noqa: F401
