"""What is odd about the true releases, as switches: each alters a finished tree in its layout."""

from shards.standins.oddities import afew_va as afew_va
from shards.standins.oddities import aff_wild as aff_wild
from shards.standins.oddities import aff_wild2 as aff_wild2
from shards.standins.oddities import affectnet as affectnet
from shards.standins.oddities import raf_db as raf_db
from shards.standins.oddities import table as table
from shards.standins.oddities.switches import HARMLESS as HARMLESS
from shards.standins.oddities.switches import STOPPING as STOPPING
from shards.standins.oddities.switches import apply_oddities as apply_oddities
from shards.standins.oddities.switches import check_oddities as check_oddities
from shards.standins.oddities.switches import oddities_of as oddities_of
