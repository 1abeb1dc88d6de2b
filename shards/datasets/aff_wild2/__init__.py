"""Aff-Wild2 (ABAW challenges): `reader` pairs the crops (`images`) with the labels (`tables`)."""

from shards.datasets.aff_wild2.reader import read as read
from shards.datasets.aff_wild2.reader import shared_videos as shared_videos
