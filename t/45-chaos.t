# Everything is killed at random, whole nodes too, while people send and read: every answer arrives, once, whole and in order.
#
# SI_CHAOS_SEED repeats a run as far as chance allows, SI_CHAOS_KILLS sets their number.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Chaos;

my $chaos = SI::Chaos->new(kills => $ENV{SI_CHAOS_KILLS}, seed => $ENV{SI_CHAOS_SEED});

$chaos->run or diag $chaos->report;
is_deeply [$chaos->wrong('answer')], [], 'no client got an answer that it should not get';
is_deeply [$chaos->wrong('bytes')], [], 'an event id has the same bytes wherever and whenever it is read';
is_deeply [$chaos->wrong('order')], [], 'ids only grow, and turns have their shape';
is_deeply [$chaos->wrong('gap')], [], 'no reader misses a turn, or its end';
is_deeply [$chaos->wrong('text')], [], 'what was read is what is stored';
is_deeply [$chaos->wrong('store')], [], 'what was accepted was answered, once';
is_deeply [$chaos->wrong('processes')], [], 'all processes are back, and the old ones have gone';
note $chaos->summary;

done_testing;
