"""Any images or films with a table of labels: `rows` reads it, `columns` says what stands in it."""

from shards.datasets.table.reader import read as read
