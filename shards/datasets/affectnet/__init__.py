"""AffectNet, of both releases: `reader` finds out which one lies below a root."""

from shards.datasets.affectnet.reader import read as read
